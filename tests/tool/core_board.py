"""A folder that stands in for a machine with core, and an engine that is a file.

Most of it runs within the test: starts of Python for each call of docker would take most of the time.
"""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from skiff_device.common import run as running
from skiff_device.common.errors import DeviceError
from skiff_device.core import apply as applying
from skiff_device.core.__main__ import main
from tests.tool.fakes import docker

FAKE = Path(__file__).parent / "fakes" / "docker.py"
SRC = Path(__file__).parents[2] / "src"
# The time that a new container must stay up is of no interest here.
START = """import sys
import skiff_device.core.apply as applying
from skiff_device.core.__main__ import main
applying._STAYS_UP = 0
sys.exit(main())"""
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIaIHcrMFZX7327yE4hX702XkONGPVsfGbaLbJwnQQph me@there"
CONFIG = """\
containers:
  core:
    image: local/core:latest
    cmd: [sleep, "{}"]
    startAfterCreate: true
    restartPolicy: always
users:
  core:
    container: core
    containerUser: core
    auth:
      copyRootKeys: true
images:
  local/core:latest:
    build:
      source: src
"""
# Another container of that image.
ODD = """\
  odd:
    image: local/core:latest
    startAfterCreate: true
"""


class Board:
    """A folder that stands in for the machine, with an engine that is a file."""

    def __init__(self, top: Path) -> None:
        self.root, self.engine = top / "root", top / "engine"
        self.engine.mkdir()
        program = top / "bin" / "docker"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {FAKE} "$@"\n')
        program.chmod(0o755)
        self.put("etc/passwd", "root:x:0:0::/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/bin/false\n")
        self.put("etc/shadow", "root:*:19000:0:99999:7:::\n")
        self.put("etc/group", "root:x:0:\ndocker:x:990:\n")
        self.put("root/.ssh/authorized_keys", KEY + "\n")
        self.put("run/skiff/persist", "")
        self.put("mnt/persist/skiff/core/src/Dockerfile", "FROM scratch\n")
        (self.root / "proc").mkdir()
        (self.engine / "passwd").write_text(
            "root:x:0:0::/root:/bin/sh\ncore:x:1005:1005::/home/core:/bin/zsh\n"
        )
        self.config(CONFIG.format(1))

    def put(self, path: str, text: str) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def config(self, text: str) -> None:
        self.put("mnt/persist/skiff/core/config.yaml", text)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """The program itself."""
        env = {
            **os.environ,
            "SKIFF_ROOT": str(self.root),
            "PYTHONPATH": str(SRC),
            "FAKE_DOCKER": str(self.engine),
            "PATH": f"{self.engine.parent / 'bin'}:{os.environ['PATH']}",
        }
        argv = [sys.executable, "-c", START, *words]
        return subprocess.Popen(argv, env=env, stderr=subprocess.PIPE, text=True)

    def apply_program(self) -> int:
        """Apply with processes."""
        with self.start("apply") as process:
            process.communicate(timeout=60)
            return process.returncode

    def run(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """The same within this process; so is docker."""

        def capture(argv: list[str], *_: Any, **__: Any) -> running.Result:
            assert argv[0] == "docker", argv
            hangs = self.engine / "hangs"
            if argv[1] == "exec" and hangs.exists() and hangs.read_text() in argv:
                raise DeviceError("docker exec is late: 60 s", "skiff-status")
            return running.Result(*docker.call(self.engine, argv[1:], os.getpid()))

        def stream(argv: list[str], log: running.Log, *_: Any) -> running.Result:
            done = capture(argv)
            said = done.out.decode() + done.err
            for line in said.splitlines():
                log(line)
            return running.Result(done.status, b"", said)

        out, err = io.StringIO(), io.StringIO()
        before = signal.getsignal(signal.SIGTERM)
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setenv("SKIFF_ROOT", str(self.root))
            patch.setattr(running, "capture", capture)
            patch.setattr(running, "head", capture)
            patch.setattr(running, "stream", stream)
            patch.setattr(applying, "_STAYS_UP", 0)
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            try:
                status = main(list(words))
            finally:
                signal.signal(signal.SIGTERM, before)
        return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())

    def run_full(self, *words: str) -> subprocess.CompletedProcess[str]:
        """As `run`, with a persist that takes no byte more."""
        real = os.fsync

        def fsync(file: int) -> None:
            if "/mnt/persist/" in str(Path(f"/proc/self/fd/{file}").readlink()):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(file)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            return self.run(*words)

    def apply(self, *words: str) -> int:
        return self.run("apply", *words).returncode

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.engine / "state.json").read_text())
        return found

    def change(self, **parts: Any) -> None:
        """Change what the engine holds."""
        path = self.engine / "state.json"
        empty = {"containers": {}, "images": {}, "remote": {}, "next": 1}
        state = json.loads(path.read_text()) if path.exists() else empty
        path.write_text(json.dumps({**state, **parts}))

    def containers(self) -> dict[str, str]:
        """Name to `state policy`."""
        return {
            name: f"{one['State']['Status']} {one['HostConfig']['RestartPolicy']['Name']}"
            for name, one in self.state()["containers"].items()
        }

    def verbs(self) -> list[str]:
        calls = [json.loads(line) for line in (self.engine / "calls").read_text().splitlines()]
        (self.engine / "calls").unlink()
        return [call[0] for call in calls]

    def line(self, name: str = "core") -> list[str]:
        return self.read(f"run/skiff/core/containers/{name}").splitlines()[0].split("\t")
