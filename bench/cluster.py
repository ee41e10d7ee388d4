"""What a cluster costs a worker in memory, and how soon apps are back after a lost device: real engines here.

Three of Docker's engines, each in a network namespace of its own; all end with the namespace of processes.
"""

from __future__ import annotations

import io
import os
import shlex
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import msgspec

from bench.setting import Setting
from bench.table import Figure
from skiff.host.errors import UserError
from skiff.host.run import DEVNULL, run, spawn, which
from skiff_device.common.errors import DeviceError
from skiff_device.crew import service_spec, store
from skiff_device.crew.engine import Engine
from skiff_device.crew.engine_swarm import Swarm, is_there, patiently
from skiff_device.crew.paths import Paths
from skiff_device.crew.release import Release

FIGURES = (
    Figure("cluster-worker", "memory that a worker pays for being in a cluster", "MB", None),
    Figure("cluster-loss", "a device lost, until all containers run again, against a bare service", "×", 1.1),
)
_ENGINES = 3
_REPLICAS = 6
_IMAGE = "bench:1"
# In seconds.
_LONGEST = 180.0
_SETTLED = 10
_PAUSE = 0.2
_NETWORK = """
mount --make-rprivate / && mount -t proc proc /proc && mkdir -p /run/netns && mount -t tmpfs netns /run/netns
ip link add lan type bridge && ip link set lan up
for n in $(seq {count}); do
    ip netns add $n && ip link add v$n type veth peer name eth0 netns $n && ip link set v$n master lan up
    ip -n $n addr add 10.77.0.$n/24 dev eth0 && ip -n $n link set eth0 up && ip -n $n link set lo up
    home={folder}/$n
    engine="dockerd -H unix://$home/run/docker.sock --data-root $home/data --exec-root $home/exec"
    engine="$engine --pidfile $home/pid --cgroup-parent /skiff-bench-$n"
    nsenter --net=/run/netns/$n unshare --uts sh -c "hostname board$n && exec $engine" 2>$home/log &
done
wait
"""


def measure(setting: Setting) -> Iterator[Figure]:
    """The memory first, for that is of engines that have done nothing yet."""
    busybox = which("busybox")
    if os.geteuid() != 0 or which("dockerd") is None or busybox is None:
        raise UserError("needs root, and the packages docker.io and busybox-static")
    repeat = setting.times(5, 2)
    with _engines(setting.empty("cluster")) as boards:
        alone = _memory(boards[1])
        _join(boards)
        paid = _memory(boards[1]) - alone
        note = f"dockerd and containerd, {alone / 1e6:.0f} MB before"
        yield msgspec.structs.replace(FIGURES[0], value=paid / 1e6, note=note)
        for board in boards:
            _give_image(board, Path(busybox))
        specs = (_bare(), _crews(boards[0]))
        bare: list[float] = []
        crews: list[float] = []
        with setting.ui.step("losses", total=2 * repeat) as step:
            for _ in range(repeat):
                for spec, times in zip(specs, (bare, crews), strict=True):
                    times.append(_loss(boards, spec))
                    step.advance()
        ratio = median(crews) / median(bare)
        note = (
            f"medians of {repeat}: {median(crews):.1f} s against {median(bare):.1f} s, {_REPLICAS} containers"
        )
        yield msgspec.structs.replace(FIGURES[1], value=ratio, note=note)


@contextmanager
def _engines(folder: Path) -> Iterator[list[Paths]]:
    """They run while the block does; each device is a folder."""
    boards = [Paths(folder / str(number)) for number in range(1, _ENGINES + 1)]
    for board in boards:
        (board.root / "run").mkdir(parents=True)
        board.persist_flag.parent.mkdir(parents=True)
        board.persist_flag.touch()
    line = _NETWORK.format(count=_ENGINES, folder=shlex.quote(str(folder)))
    words = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", line]
    namespace = spawn(words, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
    try:
        for board in boards:
            Engine(board).wait_until_up(60)
        yield boards
    except DeviceError as error:
        raise UserError(f"{error.message}; see {folder}/*/log") from None
    finally:
        namespace.kill()
        namespace.wait()


def _processes(board: Paths) -> list[int]:
    """The engine's programs, by what they were started with."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith((b"dockerd", b"containerd")) and any(
            bytes(board.root) + b"/" in w for w in words
        ):
            found.append(int(path.parent.name))
    return found


def _memory(board: Paths) -> int:
    """Bytes of RAM that the engine's programs have, when that has settled."""
    least = 0
    for _ in range(_SETTLED):
        time.sleep(1)
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in _processes(board)]
        now = sum(pages) * os.sysconf("SC_PAGE_SIZE")
        least = min(least or now, now)
    return least


def _join(boards: list[Paths]) -> None:
    manager = Swarm(boards[0])
    manager.init("eth0")
    token = manager.token("worker")
    for board in boards[1:]:
        Swarm(board).join("eth0", "10.77.0.1", token)
    body = {"Name": service_spec.NETWORK, "Driver": "overlay"}
    patiently(lambda: manager.ask_managers("POST", "/networks/create", body=body))


def _give_image(board: Paths, busybox: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(busybox.resolve(), "busybox")
    packed.seek(0)
    Engine(board).import_tar(packed, _IMAGE)


def _bare() -> service_spec.Spec:
    """What `docker service create --replicas` asks for: what is lost waits for 5 s, crew's for 1 s."""
    container = {"Image": _IMAGE, "Args": ["/busybox", "sleep", "100000"]}
    mode = {"Replicated": {"Replicas": _REPLICAS}}
    return {"Name": "bare", "TaskTemplate": {"ContainerSpec": container}, "Mode": mode}


def _crews(board: Paths) -> service_spec.Spec:
    """What crew asks for."""
    store.create(board, "bench")
    release = Release(1, "", "", "", "", processes={"web": ["/busybox", "sleep", "100000"]})
    return service_spec.spec(board, "bench", release, "web", _REPLICAS, _IMAGE, "", 0, {})


def _loss(boards: list[Paths], spec: service_spec.Spec) -> float:
    """Seconds from the loss of a worker until all containers run on others."""
    swarm, lost, name = Swarm(boards[0]), boards[2], spec["Name"]
    number = Swarm(lost).state()["NodeID"]
    patiently(lambda: swarm.create_service(spec))

    def running(without: str = "") -> int:
        tasks = swarm.tasks(name)
        states = [(t["Status"]["State"], t["DesiredState"], t.get("NodeID") != without) for t in tasks]
        return states.count(("running", "running", True))

    _until(lambda: running() == _REPLICAS)
    assert running(number) < _REPLICAS
    _cable(lost, "down")
    started = time.monotonic()
    _until(lambda: running(number) == _REPLICAS)
    took = time.monotonic() - started
    _cable(lost, "up")
    swarm.remove_service(name)
    _until(lambda: all(map(is_there, swarm.nodes())))
    return took


def _cable(board: Paths, state: str) -> None:
    pid = _processes(board)[0]
    run(["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "link", "set", "eth0", state])


def _until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + _LONGEST
    while not patiently(done):
        if time.monotonic() > end:
            raise UserError("the cluster did not get there in time")
        time.sleep(_PAUSE)
