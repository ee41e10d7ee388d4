"""What `git push` costs against `docker build` and `docker run` by hand, and a redeploy those who visit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

import msgspec

from bench.setting import Setting
from bench.table import Figure
from skiff.host.run import run
from skiff.machine.qemu import Options
from tests.vm.apps import Repository, crew
from tests.vm.driver import Device, ProductFailure
from tests.vm.environments import BOX, enter

FIGURES = (
    Figure("crew-push", "git push of an unchanged app to serving, against docker build and run", "×", 1.5),
    Figure("crew-lost", "requests lost during 20 redeploys under load", "requests", 0),
    Figure("crew-rest", "crew at rest, no app", "processes", 0),
)

_DOCKERFILE = """FROM box
COPY . /www
RUN echo built >/built
EXPOSE 8000
CMD ["httpd", "-f", "-p", "8000", "-h", "/www"]
"""
# By hand, up to the first answer, for crew's push ends there too.
_BY_HAND = """
cd /root/bare && docker build -q -t bare . >/dev/null && new=$(docker run -d --init --network crew bare) &&
address=$(docker inspect -f '{{.NetworkSettings.Networks.crew.IPAddress}}' $new) &&
until wget -q -O - http://$address:8000/index.html; do :; done
"""
_TIDY = "docker ps -q --filter ancestor=bare | xargs docker rm -f"
# Requests one after the other, each with a connection of its own, until the file is gone.
_LOAD = """
touch /run/load
for one in 1 2; do
  ( good=0 bad=0
    while [ -e /run/load ]; do
      answer=$(wget -q -O - -T 20 http://127.0.0.1/index.html 2>&1)
      if [ "$answer" = hello ]; then good=$((good + 1)); else bad=$((bad + 1)); fi
    done
    echo $good $bad >/run/load.$one ) >/dev/null 2>&1 </dev/null &
done
"""


def measure(setting: Setting) -> Iterator[Figure]:
    """Both ways in turn on one machine, each with a connection of its own."""
    built = setting.image("virt/qemu", "engine/docker", "apps/crew")
    with setting.device(built, "crew", Options(memory=1024)) as device:
        with setting.ui.step("boot crew"):
            device.boot(300)
            device.wait_for_engine()
            device.succeed(BOX, timeout=300)
            device.wait_for_unit("crew", "no apps", 120)
        left = _processes(device)
        yield msgspec.structs.replace(FIGURES[2], value=len(left), note=" ".join(left) or "none, by ps")
        files = {"Dockerfile": _DOCKERFILE, "index.html": "hello\n"}
        repository = Repository(setting.empty("crew-app"), **files)
        _push(repository, device)
        for name, text in files.items():
            device.succeed(f"mkdir -p /root/bare && cat >/root/bare/{name}", input=text.encode())
        yield _ratio(setting, device, repository)
        yield _lost(setting, device)


def _processes(device: Device) -> list[str]:
    """Programs that run as crew."""
    return device.succeed("ps -o user,comm | awk '$1 == \"crew\" { print $2 }'").split()


def _push(repository: Repository, device: Device) -> float:
    """Seconds until git says that it is pushed, which is when it serves."""
    repository.commit()
    before = time.monotonic()
    status, shown = repository.push(device, "hello")
    if status:
        raise ProductFailure(shown)
    return time.monotonic() - before


def _by_hand(device: Device) -> float:
    before = time.monotonic()
    run(enter(device, _BY_HAND, user="root"), input=b"", timeout=300)
    taken = time.monotonic() - before
    device.succeed(_TIDY)
    return taken


def _ratio(setting: Setting, device: Device, repository: Repository) -> Figure:
    repeat = setting.times(9, 3)
    pairs = []
    with setting.ui.step("push", total=repeat) as step:
        for _ in range(repeat + 1):
            pairs.append((_push(repository, device), _by_hand(device)))
            step.advance()
    # The first of each only warms up.
    ratio = median(ours / theirs for ours, theirs in pairs[1:])
    ours, theirs = (median(pair[place] for pair in pairs[1:]) for place in (0, 1))
    note = f"{ours:.1f} s against {theirs:.1f} s, median of {repeat} pairs"
    return msgspec.structs.replace(FIGURES[0], value=ratio, note=note)


def _lost(setting: Setting, device: Device) -> Figure:
    repeat = setting.times(20, 5)
    device.succeed(_LOAD)
    with setting.ui.step("redeploy", total=repeat) as step:
        for _ in range(repeat):
            crew(device, "ps:restart hello")
            step.advance()
    device.succeed("rm /run/load")
    device.wait_until_succeeds("test -s /run/load.1 && test -s /run/load.2", 60)
    counts = [int(word) for word in device.succeed("cat /run/load.1 /run/load.2").split()]
    good, bad = sum(counts[::2]), sum(counts[1::2])
    note = f"{good + bad} requests, each with a connection of its own, {repeat} redeploys"
    return msgspec.structs.replace(FIGURES[1], value=bad, note=note)
