"""skiff-core with real engines of this machine: what a file says arrives, and images come from a registry."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from skiff.host.run import CommandError, run
from skiff_device.core.paths import SESSIONS
from tests.vm.port_world import DOCKER, World, podman_of, world

SRC = Path(__file__).parents[2] / "src"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIaIHcrMFZX7327yE4hX702XkONGPVsfGbaLbJwnQQph me@there"
USERS = """\
users:
  core:
    container: core
    containerUser: core
    createContainerUser: true
    auth: {sshKeys: [KEY]}
"""
# Every key of a container, but those that exclude others: what is written, and what the engine then tells.
KEYS: list[tuple[str, Callable[[dict[str, Any]], object], object]] = [
    ("entrypoint: [/bin/busybox, env]", lambda told: told["Config"]["Entrypoint"], ["/bin/busybox"]),
    ("cmd: [sleep, '7']", lambda told: told["Config"]["Cmd"], ["env", "sleep", "7"]),
    ("env: ['COLOUR=light blue']", lambda told: "COLOUR=light blue" in told["Config"]["Env"], True),
    ("tty: true", lambda told: told["Config"]["Tty"], True),
    ("workingDirectory: /opt/here", lambda told: told["Config"]["WorkingDir"], "/opt/here"),
    ("mounts: ['box:/box', '/mnt/persist/x:/x:ro']",
     lambda told: {"box:/box", "/mnt/persist/x:/x:ro"} <= set(told["HostConfig"]["Binds"]), True),
    ("capAdd: [SYS_TIME]", lambda told: told["HostConfig"]["CapAdd"], ["SYS_TIME"]),
    ("hostIPC: true", lambda told: told["HostConfig"]["IpcMode"], "host"),
    ("hostPID: true", lambda told: told["HostConfig"]["PidMode"], "host"),
    ("hostUTS: true", lambda told: told["HostConfig"]["UTSMode"], "host"),
    ("securityOpt: [no-new-privileges]",
     lambda told: "no-new-privileges" in told["HostConfig"]["SecurityOpt"], True),
    ("tmpFs: {/t: 'size=64k'}", lambda told: told["HostConfig"]["Tmpfs"], {"/t": "size=64k"}),
    ("ports: [{hostPort: 8080, containerPort: 80}]",
     lambda told: told["HostConfig"]["PortBindings"], {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}),
    ("dns: [192.0.2.1]", lambda told: told["HostConfig"]["Dns"], ["192.0.2.1"]),
    ("dnsSearch: [e.example]", lambda told: told["HostConfig"]["DnsSearch"], ["e.example"]),
    ("hosts: ['nas:192.0.2.5']", lambda told: told["HostConfig"]["ExtraHosts"], ["nas:192.0.2.5"]),
    ("restartPolicy: on-failure:3", lambda told: told["HostConfig"]["RestartPolicy"],
     {"Name": "on-failure", "MaximumRetryCount": 3}),
    ("startAfterCreate: false", lambda told: told["State"]["Status"], "created"),
    ("stopSignal: RTMIN+3", lambda told: told["Config"]["StopSignal"], "SIGRTMIN+3"),
    ("disableInit: true", lambda told: bool(told["HostConfig"].get("Init")), False),
]  # fmt: skip
CORE = """\
  core:
    image: tiny:1
    cmd: [sleep, infinity]
    hostNetwork: true
    env: [COLOUR=blue]
    workingDirectory: /tmp
    tmpFs: {/tmp: 'size=64k'}
    capAdd: [SYS_TIME]
    disableInit: true
    stopSignal: SIGKILL
    startAfterCreate: true
"""


class Board:
    """A folder that stands in for the machine, beside a real engine."""

    def __init__(self, net: World, engine: str) -> None:
        self.net = net
        self.root = net.folder / engine / "root"
        for path, text in {
            "etc/passwd": "root:x:0:0::/root:/bin/sh\n",
            "etc/shadow": "root:*:19000:0:99999:7:::\n",
            "etc/group": "root:x:0:\ndocker:x:990:\n",
            "run/skiff/persist": "",
            "proc/none": "",
        }.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(text)
        # Containers find agents there; the engine looks for it on this machine. Another run may be using it.
        (Path(SESSIONS) / "core").mkdir(parents=True, exist_ok=True)
        # The device, too, has a command of that name with either engine.
        self.program = self.root / "bin/docker"
        self.program.parent.mkdir(exist_ok=True)
        self.program.write_text(f'#!/bin/sh\nexec {DOCKER if engine == "docker" else "podman"} "$@"\n')
        self.program.chmod(0o755)
        self.env = {
            **net.env,
            **podman_of(net.folder / engine / "podman", net.registry),
            "PATH": f"{self.program.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(SRC),
            "SKIFF_ROOT": str(self.root),
        }

    def put(self, path: str, text: str) -> None:
        file = self.root / "mnt/persist/skiff/core" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def core(self, *words: str) -> str:
        """What skiff-core prints. Raises CommandError."""
        argv = [sys.executable, "-m", "skiff_device.core", *words]
        done = run(argv, env=self.env, input=b"", timeout=120)
        return done.stdout.decode() + done.stderr.decode()

    def apply(self, text: str) -> str:
        self.put("config.yaml", text)
        return self.core("apply")

    def docker(self, *words: str) -> str:
        return run([self.program, *words], env=self.env, input=b"").stdout.decode()

    def inspect(self, name: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self.docker("container", "inspect", name))
        return found[0]


@pytest.fixture(scope="module")
def net() -> Iterator[World]:
    """Engine and registry, which has `tiny:1`."""
    with world() as made:
        made.add_tiny()
        made.build(made.folder / "tiny" / "amd64", f"{made.registry}/tiny:1")
        made.docker("push", "--quiet", f"{made.registry}/tiny:1")
        made.docker("rmi", f"{made.registry}/tiny:1")
        yield made


@pytest.fixture(params=["docker", "podman"])
def board(net: World, request: pytest.FixtureRequest) -> Iterator[Board]:
    if shutil.which(request.param) is None:
        pytest.skip(f"this machine has no {request.param}")
    made = Board(net, request.param)
    yield made
    for name in made.docker("ps", "--all", "--quiet").split():
        made.docker("rm", "--force", "--volumes", name)


def test_a_pulled_environment(board: Board) -> None:
    """From a registry under its short name; entered; kept when the registry is gone."""
    images = f"images:\n  tiny:1: {{pull: {{policy: always, registry: '{board.net.registry}'}}}}\n"
    text = f"containers:\n{CORE}{USERS.replace('KEY', KEY)}{images}"
    said = board.apply(text)
    assert f"pulling {board.net.registry}/tiny:1" in said
    inside = ["sh", "-c", "pwd; echo $COLOUR; grep ^tmpfs./tmp /proc/mounts; grep CapEff /proc/self/status"]
    place, colour, mount, powers = board.docker("exec", "core", *inside).splitlines()
    assert (place, colour) == ("/tmp", "blue") and "size=64k" in mount
    # CAP_SYS_TIME.
    assert int(powers.split()[1], 16) & 1 << 25
    assert board.core("plan") == "nothing to do\n"
    # As after a start of the device, with a registry that does not answer.
    (board.root / "run/skiff/core/boot.json").unlink()
    said = board.apply(text.replace(board.net.registry, "127.0.0.1:1"))
    assert "the image that is there is used" in said
    assert board.docker("exec", "core", "echo", "there") == "there\n"
    far = "containers:\n  far: {image: 'far:1'}\nimages:\n  far:1: {pull: {registry: '127.0.0.1:1'}}\n"
    with pytest.raises(CommandError) as error:
        board.apply(far)
    assert "the registry cannot be reached" in error.value.output


def test_a_built_environment(board: Board) -> None:
    """Every key of `build`."""
    board.docker("pull", "--quiet", f"{board.net.registry}/tiny:1")
    board.put(
        "src/sub/Mine", f"FROM {board.net.registry}/tiny:1\nARG WHO\nRUN echo $WHO >/who\nCOPY note /\n"
    )
    board.put("src/sub/note", "from below\n")
    build = "{source: src, root: sub, dockerfile: Mine, buildArgs: {WHO: 'a b'}, squash: true}"
    images = f"images:\n  made:1: {{build: {build}}}\n"
    board.apply(f"containers:\n{CORE.replace('tiny:1', 'made:1')}{images}")
    assert board.docker("exec", "core", "cat", "/who", "/note") == "a b\nfrom below\n"
    if "podman" in board.program.read_text():
        # Its `update` knows no restart policy before version 5, which the device has.
        return
    # What was pushed counts instead, until it is taken back.
    commit = "0123456789" * 4
    board.put(f"env/core/trees/{commit}/Dockerfile", "FROM made:1\nRUN echo pushed >/pushed\n")
    (board.root / "mnt/persist/skiff/core/env/core/current").symlink_to(f"trees/{commit}")
    board.core("apply")
    assert board.docker("exec", "core", "cat", "/pushed", "/who") == "pushed\na b\n"
    board.core("unpush", "core")
    assert board.docker("exec", "core", "ls", "/").find("pushed") == -1
    assert len(json.loads(board.core("status", "--json"))["aside"]) == 2


def test_every_key_of_a_container(net: World) -> None:
    board = Board(net, "docker")
    net.docker("pull", "--quiet", f"{net.registry}/tiny:1")
    lines = "".join(f"    {written}\n" for written, _, _ in KEYS)
    image = f"    image: {net.registry}/tiny:1\n"
    mighty = f"  mighty:\n{image}    privileged: true\n  near:\n{image}    hostNetwork: true\n"
    board.apply(f"containers:\n  all:\n{image}{lines}{mighty}")
    told = board.inspect("all")
    assert {written: read(told) for written, read, _ in KEYS} == {written: good for written, _, good in KEYS}
    assert (board.root / "mnt/persist/x").is_dir()
    assert board.inspect("mighty")["HostConfig"]["Privileged"] is True
    assert board.inspect("mighty")["HostConfig"]["Init"] is True
    assert board.inspect("near")["HostConfig"]["NetworkMode"] == "host"
