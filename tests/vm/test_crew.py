"""Apps by git push: real pushes over SSH, built, checked and switched to on a booted device.

Each engine has one machine. Podman's sees an app's life from its first push to a rollback and a power cut;
what is the same whatever the engine is asked on docker alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from skiff.host.run import run
from tests.vm import disks
from tests.vm.apps import SNAKE, Repository, crew, is_whole, page, tunnel
from tests.vm.driver import Device
from tests.vm.environments import BOX, configure, enter
from tests.vm.programs import imports_that_fail

MakeDevice = Callable[..., Device]

# An app in shell, with what today's Dockerfiles are made of. Its page tells version and configuration.
SHELL = """# syntax=docker/dockerfile:1
FROM box AS base
RUN --mount=type=cache,target=/cache <<END
echo once >>/cache/built
wc -l </cache/built >/times
END

FROM base AS web
COPY <<END /motd
from a heredoc
END
COPY . /app
EXPOSE 8000
CMD ["/bin/sh", "/app/serve"]

FROM web AS broken
RUN exit 9
"""
SERVE = """mkdir -p /tmp/www
echo "version VERSION colour $COLOUR on $PORT, $(cat /motd), built $(cat /times)" >/tmp/www/index.html
echo serving
exec httpd -f -p "$PORT" -h /tmp/www
"""
# Builds that wait for each other in a cache that both see: neither ends unless they run side by side.
MEET = """RUN --mount=type=cache,id=meet,target=/meet touch /meet/ME; n=0; \\
  until [ -e /meet/OTHER ]; do n=$((n + 1)); [ $n -lt 300 ] || exit 1; sleep 0.5; done
"""
PYTHON = """FROM snake
COPY app.py /app.py
EXPOSE 7000
# Often until it is healthy, and then hardly ever: an emulated machine spends seconds on each.
HEALTHCHECK --start-period=5m --start-interval=2s --interval=10m --timeout=20s \\
  CMD ["/usr/bin/python3", "/app.py", "check"]
CMD ["/usr/bin/python3", "/app.py"]
"""
PYTHON_APP = """import os, socket, sys
port = int(os.environ["PORT"])
if sys.argv[1:] == ["check"]:
    socket.create_connection(("127.0.0.1", port)).close()
    sys.exit()
server = socket.create_server(("", port))
while True:
    peer, _ = server.accept()
    with peer:
        peer.recv(4096)
        peer.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\npython " + os.environb.get(b"ODD", b"").hex().encode())
"""
CRON = {"cron": [{"command": "echo tick >>/data/ticks", "schedule": "* * * * *"}]}
# A static program in an image that has nothing else.
C = """FROM box AS pack
COPY server /server
MEETRUN chmod 755 /server
FROM scratch
COPY --from=pack /server /server
EXPOSE 9000
CMD ["/server"]
"""
C_SERVER = r"""#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
int main(void) {
  struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(9000)};
  int server = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(server, (struct sockaddr *)&here, sizeof here) || listen(server, 16)) return 1;
  for (;;) {
    char asked[4096] = "", path[1024] = "";
    int peer = accept(server, 0, 0);
    if (read(peer, asked, sizeof asked - 1) > 0 && sscanf(asked, "GET %1000s", path) == 1)
      dprintf(peer, "HTTP/1.0 200 OK\r\n\r\nC answers %s", path);
    close(peer);
  }
}
"""
CHECKS = "WAIT=1\nATTEMPTS=20\n/health C answers\n"
# Every byte that a variable can hold, and what shells would like to have.
ODD = bytes(range(1, 256)) + "äöü€ 🚀 $(reboot) `reboot` \\ '\" \n".encode()
CREW = "/mnt/persist/skiff/crew"
STORAGE = f"{CREW}/storage"
PROCFILE = """web: sh /app/serve
worker: while :; do echo worker at work; sleep 1; done
"""


def meet(me: str, other: str) -> str:
    return MEET.replace("ME;", f"{me};").replace("OTHER", other)


def serve(version: str) -> str:
    return SERVE.replace("VERSION", version)


@pytest.fixture
def crewed(device: MakeDevice) -> Callable[..., Device]:
    def make(*layers: str) -> Device:
        machine = device("virt/qemu", *layers, "apps/crew")
        machine.start(memory=1024)
        machine.wait_for_ssh()
        machine.wait_for_engine_to_answer()
        machine.succeed(BOX, timeout=180)
        if "apps/core" in layers:
            configure(machine)
        machine.wait_for_unit("crew", "no apps", 60)
        return machine

    return make


@pytest.mark.timeout(1200)
def test_on_podman(crewed: Callable[..., Device], tmp_path: Path) -> None:
    machine = crewed("engine/podman")
    hello = Repository(tmp_path / "app", Dockerfile=SHELL, serve=serve("one"), Procfile=PROCFILE)
    one_app(machine, hello)
    builds_within_limits(machine, tmp_path)
    hello.commit(Dockerfile=SHELL.replace("COPY . /app", "COPY . /app\nRUN sleep 999"))
    cut = hello.start_push(machine, "hello")
    cut.wait_for("RUN sleep 999")
    machine.cut_power()
    cut.break_off()
    machine.boot()
    machine.wait_for_unit("crew", "1 app runs", 240)
    assert page(machine, "hello").startswith("version one")
    # Nor is there anything left of the build.
    assert "torage" not in machine.succeed("podman ps --all --external --format '{{.Status}} {{.Names}}'")
    at_rest(machine)
    assert machine.failed() == {}


@pytest.mark.timeout(1500)
def test_on_docker(crewed: Callable[..., Device], tmp_path: Path) -> None:
    machine = crewed("engine/docker", "apps/core")
    several_apps(machine, tmp_path)
    around_an_app(machine)
    one_file_has_all(machine)
    with_tls(machine, tmp_path)
    hello = Repository(tmp_path / "hello")
    pushes_in_turn(machine, hello)
    a_push_that_is_lost(machine, hello)
    builds_within_limits(machine, tmp_path)
    a_key_for_one_app(machine, tmp_path)
    an_environment_is_an_app(machine, tmp_path)
    # A minute may pass before crond's first look.
    machine.wait_until_succeeds(f"grep tick {STORAGE}/pie/ticks", 150)
    a_power_cut(machine, hello)
    at_rest(machine)
    # With the last job its service has nothing to do, which is no failure.
    crew(machine, "apps:destroy --force pie")
    machine.wait_until_succeeds("! sv status /run/skiff/services/crew-cron | grep ^run:", 30)
    assert machine.failed() == {}
    # So it is with the router and the last app.
    for app in {*crew(machine, "apps:list").stdout.split()} - {"core"}:
        crew(machine, f"apps:destroy --force {app}")
    machine.wait_until_succeeds("! sv status /run/skiff/services/crew-router | grep ^run:", 30)
    assert machine.failed() == {}


def one_app(machine: Device, repository: Repository) -> None:
    """From the first push to a rollback."""
    crew(machine, "apps:create hello")
    crew(machine, "builder-dockerfile:set hello target web")
    status, shown = repository.push(machine, "hello")
    assert status == 0, shown
    first = "version one colour  on 8000, from a heredoc, built 1\n"
    assert page(machine, "hello") == first
    # A failed build and one that does not stay leave the old one serving.
    for files, reason in (
        ({"Dockerfile": SHELL.replace("COPY . /app", "RUN exit 3")}, "exit"),
        ({"Dockerfile": SHELL, "serve": "echo last words; exit 4\n"}, "ended with status 4"),
    ):
        repository.commit(**files)
        status, shown = repository.push(machine, "hello")
        assert status != 0, shown
        assert reason in shown, shown
        assert page(machine, "hello") == first
    assert "last words" in shown
    repository.commit(serve=serve("two"))
    status, shown = repository.push(machine, "hello")
    assert status == 0, shown
    assert page(machine, "hello").startswith("version two")

    # The way back, and more processes.
    crew(machine, "rollback hello")
    assert page(machine, "hello") == first
    assert "rollback to" in crew(machine, "releases hello").stdout
    set_odd(machine, "hello", "--no-restart")
    crew(machine, "ps:scale hello worker=1")
    assert crew(machine, "ps:report hello").stdout.count("running") == 2
    assert "worker at work" in crew(machine, "logs hello -p worker").stdout
    digest = shlex.quote('printf %s "$ODD" | md5sum')
    inside = crew(machine, f"enter hello worker sh -c {digest}").stdout
    assert inside.split()[0] == hashlib.md5(ODD).hexdigest()


def at_rest(machine: Device) -> None:
    """Nothing of crew runs but the router: what ends older releases, and a job of cron, are gone soon."""
    words = "! ps -o user,comm | grep ^crew | grep -v -e nginx -e dropbear"
    machine.wait_until_succeeds(words, 120)
    none_runs(machine, "[s]kiff_device.crew", 120)
    # Python had nothing to compile, which it would have kept in RAM, and has all that is asked for anywhere.
    assert machine.succeed("find /usr/lib -name __pycache__") == ""
    assert imports_that_fail(machine) == ""


def none_runs(machine: Device, pattern: str, timeout: float) -> None:
    """Wait until no command line matches a pattern, which must not match itself. The device has no pgrep."""
    machine.wait_until_succeeds(f"ps -o args >/tmp/ps && ! grep -q '{pattern}' /tmp/ps", timeout)


def several_apps(machine: Device, folder: Path) -> None:
    """Two, in Python and C, built side by side and reached by their names."""
    machine.succeed(SNAKE, timeout=180)
    crew(machine, "apps:create pie")
    crew(machine, "storage:mount pie pie:/data")
    (folder / "server.c").write_text(C_SERVER)
    run(["gcc", "-static", "-O2", "-o", folder / "server", folder / "server.c"])
    server = (folder / "server").read_bytes()
    pie = Repository(
        folder / "pie", Dockerfile=PYTHON + meet("pie", "sea"), app__py=PYTHON_APP, app__json=json.dumps(CRON)
    )
    sea = Repository(
        folder / "sea", Dockerfile=C.replace("MEET", meet("sea", "pie")), server=server, CHECKS=CHECKS
    )
    pushes = [pie.start_push(machine, "pie"), sea.start_push(machine, "sea")]
    for push in pushes:
        status, shown = push.end()
        assert status == 0, shown
    assert "healthy" in pushes[0].shown and "passed /health" in pushes[1].shown
    assert page(machine, "pie") == "python "
    assert page(machine, "sea", "/deep/path") == "C answers /deep/path"
    machine.fail("wget -q -O - --header 'Host: nobody.example' http://127.0.0.1/")
    # A check that is not passed: CHECKS asks for other words than the app says.
    sea.commit(CHECKS=CHECKS.replace("answers", "sings").replace("ATTEMPTS=20", "ATTEMPTS=1"))
    status, shown = sea.push(machine, "sea")
    assert status != 0 and "does not pass /health" in shown, shown
    assert page(machine, "sea") == "C answers /"


def set_odd(machine: Device, app: str, option: str = "") -> None:
    crew(machine, f"config:set --encoded {option} {app} ODD={base64.b64encode(ODD).decode()}")


def around_an_app(machine: Device) -> None:
    """Its variables, files and containers, by commands."""
    set_odd(machine, "pie")
    assert page(machine, "pie") == f"python {ODD.hex()}"
    crew(machine, "run pie sh -c 'echo kept >/data/kept; exit 7'", status=7)
    assert crew(machine, "enter pie web cat /data/kept").stdout == "kept\n"


def one_file_has_all(machine: Device) -> None:
    """An app that was destroyed comes back from its backup, with variables and files."""
    saved = run(enter(machine, "backup:export", "pie", user="crew"), input=b"", timeout=240).stdout
    crew(machine, "apps:destroy --force pie")
    machine.succeed(f"rm -r {STORAGE}/pie")
    crew(machine, "backup:import", stdin=saved)
    assert page(machine, "pie") == f"python {ODD.hex()}"
    assert machine.succeed(f"cat {STORAGE}/pie/kept") == "kept\n"


def with_tls(machine: Device, folder: Path) -> None:
    """A given certificate, by which a client knows the app; plain HTTP leads there."""
    key, certificate = folder / "server.key", folder / "server.crt"
    words = "-x509 -nodes -newkey rsa:2048 -days 2 -subj /CN=sea -addext subjectAltName=DNS:sea.example"
    run(["openssl", "req", *words.split(), "-keyout", key, "-out", certificate], check=True)
    crew(machine, "domains:add sea sea.example")
    crew(machine, "certs:add sea", stdin=certificate.read_bytes() + key.read_bytes())
    known = ssl.create_default_context(cafile=str(certificate))
    with (
        tunnel(machine, 443) as port,
        socket.create_connection(("127.0.0.1", port)) as plain,
        known.wrap_socket(plain, server_hostname="sea.example") as secure,
    ):
        secure.sendall(b"GET / HTTP/1.0\r\nHost: sea.example\r\n\r\n")
        answer = b"".join(iter(lambda: secure.recv(4096), b""))
    assert answer.endswith(b"C answers /")
    head = machine.execute(
        "wget -S -O - --header 'Host: sea.example' http://127.0.0.1/ 2>&1 | head -n 5"
    ).stdout
    assert "301" in head


def pushes_in_turn(machine: Device, hello: Repository) -> None:
    """Two to one app queue, and the second one finds the branch where the first one left it."""
    crew(machine, "apps:create hello")
    crew(machine, "builder-dockerfile:set hello target web")
    hello.commit(serve=serve("three"), Dockerfile=SHELL.replace("COPY . /app", "RUN sleep 5\nCOPY . /app"))
    first = hello.start_push(machine, "hello")
    first.wait_for("building hello")
    hello.commit(serve=serve("four"))
    second = hello.start_push(machine, "hello")
    second.wait_for("waiting for another push to hello")
    for push in (first, second):
        status, shown = push.end()
        assert status == 0, shown
    assert page(machine, "hello").startswith("version four"), shown


def a_push_that_is_lost(machine: Device, hello: Repository) -> None:
    """The connection goes while a silent step of the build is under way: nothing of it stays."""
    hello.commit(serve=serve("five"), Dockerfile=SHELL.replace("COPY . /app", "COPY . /app\nRUN sleep 999"))
    lost = hello.start_push(machine, "hello")
    lost.wait_for("RUN sleep 999")
    lost.break_off()
    none_runs(machine, "[s]leep 999", 60)
    none_runs(machine, "[s]kiff_device.crew", 60)
    assert page(machine, "hello").startswith("version four")
    left = set(machine.succeed(f"ls {CREW}/apps/hello").split())
    assert left <= {"current", "env.json", "releases", "repo.git", "settings.json"}


def builds_within_limits(machine: Device, folder: Path) -> None:
    """One without an end, and one that forks without an end."""
    endless = Repository(folder / "endless", Dockerfile="FROM box\nRUN while :; do :; done\n")
    crew(machine, "apps:create limited")
    crew(machine, "builder:set limited time-limit 5")
    status, shown = endless.push(machine, "limited")
    assert status != 0 and "took longer than 5 s" in shown, shown
    none_runs(machine, "[w]hile :; do :; done", 60)
    # The usual limit would take long to reach under emulation.
    limit = "cd /sys/fs/cgroup && cat crew-build/pids.max || cat docker/buildkit/pids.max"
    assert machine.succeed(limit) == "2048\n"
    crew(machine, "builder:set limited pids 100")
    endless.commit(Dockerfile="FROM box\nRUN n=0; while [ $n -lt 300 ]; do sleep 60 & n=$((n + 1)); done\n")
    crew(machine, "builder:set limited time-limit")
    status, shown = endless.push(machine, "limited")
    assert status != 0 and "fork" in shown, shown
    crew(machine, "apps:destroy --force limited")


def a_key_for_one_app(machine: Device, folder: Path) -> None:
    """It may deploy hello, and nothing else."""
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "anna"])
    crew(machine, "ssh-keys:add anna --role deploy --app hello", stdin=(folder / "anna.pub").read_bytes())
    words = enter(machine, user="crew")
    words[words.index("-i") + 1] = str(folder / "anna")
    for command, status in (("ps:report hello", 0), ("ps:report pie", 1), ("apps:create mine", 1)):
        done = run([*words, command], input=b"", timeout=60, check=False)
        assert done.returncode == status, done.stderr


def an_environment_is_an_app(machine: Device, folder: Path) -> None:
    """What is pushed to core@device:env goes through crew; a failed build leaves the old one running."""
    machine.wait_until_succeeds("test -d /mnt/persist/skiff/core/env/core", 120)
    env = Repository(folder / "env", Dockerfile="FROM box\nRUN echo pushed >/etc/pushed\n")
    status, shown = env.push(machine, "env", user="core")
    assert status == 0, shown
    assert "core" in crew(machine, "apps:list").stdout.split()
    env.commit(Dockerfile="FROM box\nRUN exit 3\n")
    status, shown = env.push(machine, "env", user="core")
    assert status != 0 and "cannot be built" in shown, shown
    assert machine.succeed("cat /etc/pushed", user="core") == "pushed\n"
    assert "env:core core: push refused" in crew(machine, "events").stdout


def a_power_cut(machine: Device, hello: Repository) -> None:
    """In the middle of a push: an app runs its old release or its new one, and what was stopped stays so."""
    crew(machine, "ps:stop sea")
    hello.commit(serve=serve("six"), Dockerfile=SHELL)
    cut = hello.start_push(machine, "hello")
    cut.wait_for("deploying hello")
    machine.cut_power()
    cut.break_off()
    assert disks.is_sound(machine.persist)
    machine.boot()
    machine.wait_for_unit("crew", "2 apps run, 1 stopped", 300)
    assert page(machine, "hello").split()[1] in ("four", "six")
    is_whole(machine, "hello")
    assert page(machine, "pie") == f"python {ODD.hex()}"
    # What was broken off is in nobody's way.
    status, shown = hello.push(machine, "hello")
    assert status == 0, shown
    assert page(machine, "hello").startswith("version six")
