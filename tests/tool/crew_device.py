"""A device with crew on it, made of a folder: engine and router are stand-ins, all of crew is real."""

from __future__ import annotations

import io
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from skiff_device.common.errors import DeviceError
from skiff_device.crew import main, release, retire, store
from skiff_device.crew.command import Caller
from skiff_device.crew.paths import Paths
from skiff_device.crew.release import Release, Running
from tests.tool.fake_engine import Container, FakeEngine

SOURCE = Path(__file__).parents[2] / "src"
ROOT = Caller("root")
# Refuses a configuration that holds the word in the file `refuse` beside it.
_NGINX = """#!/bin/sh
here=${0%/*}
while [ $# -gt 0 ]; do case $1 in -p) folder=$2 ;; -c) file=$2 ;; esac; shift; done
[ -s "$here/refuse" ] && grep -q -f "$here/refuse" "$folder/$file" || exit 0
echo "nginx: [emerg] refused" >&2
exit 1
"""


class Answer(NamedTuple):
    """What a command did."""

    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.out.decode(errors="replace")


def wait_for(condition: Callable[[], bool]) -> None:
    """Come back when it is so; fail after ten seconds."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


class Router:
    """Stands in for the service crew-router: reads its configuration when told, and answers which it has."""

    def __init__(self, paths: Paths) -> None:
        self._folder = paths.run / "router"
        self._control = paths.root / "etc/service/crew-router/supervise/control"
        self._control.parent.mkdir(parents=True)
        os.mkfifo(self._control)
        self._fifo = os.open(self._control, os.O_RDWR)
        self._ended = False
        self._server: FakeRouterServer | None = None
        self.told = b""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while (data := os.read(self._fifo, 100)) and not self._ended:
            self.told += data
            conf = self._folder / "nginx.conf"
            if conf.exists():
                if self._server is None:
                    self._server = FakeRouterServer(self._folder / "router.sock")
                self._server.text = re.findall(r'return 200 "([\d ]+)"', conf.read_text())[0]

    def close(self) -> None:
        """End it."""
        self._ended = True
        os.write(self._fifo, b"x")
        self._thread.join()
        os.close(self._fifo)
        if self._server is not None:
            self._server.close()


class FakeRouterServer:
    """Answers every request on a Unix socket with a text."""

    def __init__(self, path: Path) -> None:
        self.text = ""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen(5)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            with peer, suppress(OSError):
                peer.recv(4096)
                peer.sendall(f"HTTP/1.0 200 OK\r\n\r\n{self.text}".encode())

    def close(self) -> None:
        """Nobody answers from now on."""
        # One that is on its way to `accept` would take connections of the next socket with this number.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()


class CrewDevice:
    """The device. `run` is a command as a key's owner gives it; `start` one with streams of its own."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths = Paths(root)
        self._started: list[subprocess.Popen[bytes]] = []
        self.paths.persist_flag.parent.mkdir(parents=True)
        self.paths.persist_flag.touch()
        self.paths.crew.mkdir(parents=True)
        (root / "etc/os-release").parent.mkdir(parents=True)
        (root / "etc/os-release").write_text('VERSION_ID="0.1"\n')
        self.bin = root / "fake-bin"
        self.bin.mkdir()
        self.engine = FakeEngine(root / "run/docker.sock")
        self.engine.put_docker(self.bin)
        (self.bin / "nginx").write_text(_NGINX)
        (self.bin / "nginx").chmod(0o755)
        self.router = Router(self.paths)
        cron = root / "etc/service/crew-cron/supervise/control"
        cron.parent.mkdir(parents=True)
        os.mkfifo(cron)
        self._cron = os.open(cron, os.O_RDWR)
        monkeypatch.setenv("PATH", f"{self.bin}:{os.environ['PATH']}")
        monkeypatch.setenv("SKIFF_ROOT", str(root))
        # Crew sets them for git; given back at the end, so that no other test's git works on an app.
        for name in ("GIT_DIR", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "HOME"):
            monkeypatch.setenv(name, os.environ.get(name, ""))
            if name != "HOME":
                monkeypatch.delenv(name)
        # In this process, so that it is done when a command ends.
        monkeypatch.setattr(retire, "begin", lambda app: retire.retire(self.paths, app))

    def close(self) -> None:
        """End the stand-ins, and what was started."""
        for process in self._started:
            process.kill()
            process.wait()
            for file in (process.stdin, process.stdout, process.stderr):
                assert file is not None
                with suppress(BrokenPipeError):
                    file.close()
        self.router.close()
        os.close(self._cron)
        self.engine.close()

    def app(self, name: str, count: int = 1, **processes: list[str] | None) -> Release:
        """An app whose first release serves: by default one worker, which a redeploy need not wait for."""
        store.create(self.paths, name)
        self.engine.networks.setdefault(
            "crew", {"Name": "crew", "Driver": "bridge", "IPAM": {"Config": [{"Subnet": "172.30.0.0/16"}]}}
        )
        image = self.engine.image(f"crew/{name}:1")
        types: dict[str, list[str] | None] = dict(processes) or {"worker": ["work"]}
        place = 10 + 10 * len(store.apps(self.paths))
        running = [
            Running(f"{name}.{process}.{index}-1", process, index, f"172.30.0.{place + index}")
            for process in types
            for index in range(1, count + 1)
        ]
        made = Release(
            1, "2026-01-01T00:00:00Z", "push", image, f"crew/{name}:1", "", types, (), {}, "", tuple(running)
        )
        for one in running:
            labels = {"crew.app": name, "crew.release": "1", "crew.process": one.process, "crew.index": "1"}
            container = Container(one.name, image, [], {}, {}, labels, "running")
            self.engine.containers[one.name] = container
        release.save(self.paths, name, made)
        release.point_at(self.paths, name, 1)
        store.change(
            self.paths, name, "ps", lambda section: section.update(scale=dict.fromkeys(types, count))
        )
        store.change(self.paths, name, "checks", lambda section: section.update(wait=0))
        return made

    def run(self, *words: str, stdin: bytes = b"", caller: Caller = ROOT) -> Answer:
        """A command in this process; an error of the user's is status 1, with message and hint in err."""
        out, err = io.BytesIO(), io.BytesIO()
        streams = sys.stdin, sys.stdout, sys.stderr
        # Named, for one that nobody has any more closes what it wraps.
        ours = io.TextIOWrapper(io.BytesIO(stdin)), io.TextIOWrapper(out), io.TextIOWrapper(err)
        sys.stdin, sys.stdout, sys.stderr = ours
        try:
            try:
                status = main.run(self.paths, caller, list(words))
            except DeviceError as error:
                print(f"{error.message}\n{error.hint}", file=sys.stderr)
                status = 1
            ours[1].flush()
            ours[2].flush()
        finally:
            sys.stdin, sys.stdout, sys.stderr = streams
        return Answer(status, out.getvalue(), err.getvalue().decode())

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """A command as a process of its own, with pipes."""
        process = subprocess.Popen(
            [sys.executable, "-m", "skiff_device.crew", *words],
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._started.append(process)
        return process

    def put_acme_client(self, client: Path) -> None:
        """The client's program, where the image has it."""
        target = self.paths.root / "usr/lib/python3/dist-packages" / client.name
        target.parent.mkdir(parents=True)
        shutil.copy(client, target)

    def events(self) -> str:
        """What was logged."""
        return self.paths.events.read_text() if self.paths.events.exists() else ""


def short_folder() -> Path:
    """A folder whose path leaves room for that of a Unix socket (108 bytes); in RAM, where fsync is free."""
    return Path(tempfile.mkdtemp(prefix="crew", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))


def remove_folder(path: Path) -> None:
    """The opposite."""
    shutil.rmtree(path, ignore_errors=True)
