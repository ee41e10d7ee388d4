"""Apps for tests and figures of crew: base images made on the device, and pushes as a user's git does."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skiff.host.run import run
from tests.vm.driver import Device, ProductFailure, Result
from tests.vm.environments import enter

# The device's own Python over the tree of `box`, as the image `snake`: no registry is asked.
SNAKE = """
set -e
folder=$(mktemp -d)
mkdir -p "$folder/usr/bin" "$folder/usr/lib"
cp /usr/bin/busybox "$folder/usr/bin/busybox"
busybox --install -s "$folder/usr/bin"
cp -a /usr/bin/python3.13 /usr/bin/python3 "$folder/usr/bin"
cd /
set -- lib lib64 usr/lib64 usr/lib/python3.13 usr/lib/*-linux-gnu/ld-linux*
for name in c m z expat; do
  set -- "$@" usr/lib/*-linux-gnu/lib$name.so.*
done
tar -cf - "$@" | tar -C "$folder" -xf -
ln -s usr/bin "$folder/bin"
mkdir -m 1777 "$folder/tmp"
tar -C "$folder" -cf - . | docker import - snake >/dev/null
rm -r "$folder"
"""


class Repository:
    """A repository on the workstation, and pushes of it as somebody's git does them."""

    def __init__(self, folder: Path, **files: str | bytes) -> None:
        self.folder = folder
        run(["git", "init", "-q", "-b", "main", str(folder)])
        if files:
            self.commit(**files)

    def commit(self, **files: str | bytes) -> None:
        """Commit files by name; `__` stands for a point."""
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            (self.folder / name.replace("__", ".")).write_bytes(data)
        run(["git", "-C", str(self.folder), "add", "-A"])
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        run(["git", "-C", str(self.folder), *who, "commit", "-q", "--allow-empty", "-m", "x"])

    def push(self, machine: Device, app: str, branch: str = "main", user: str = "crew") -> tuple[int, str]:
        """Push to an app, or as another user to what that one has; status, and what git shows."""
        return self.start_push(machine, app, branch, user).end()

    def start_push(self, machine: Device, app: str, branch: str = "main", user: str = "crew") -> Push:
        """A push that goes on."""
        words = enter(machine, user=user)
        env = {**os.environ, "GIT_SSH_COMMAND": shlex.join(words[:-1]), "GIT_SSH_VARIANT": "simple"}
        argv = [
            "git",
            "-C",
            str(self.folder),
            "push",
            "-f",
            f"{words[-1]}:{app}",
            f"HEAD:refs/heads/{branch}",
        ]
        return Push(argv, env)


class Push:
    """A push under way. git and ssh are a group of processes, so that all of it can be cut off."""

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        self.shown = ""
        self._process = subprocess.Popen(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            process_group=0,
        )

    def wait_for(self, text: str) -> None:
        """Read until git shows a text."""
        assert self._process.stderr is not None
        while text not in self.shown:
            line = self._process.stderr.readline()
            if not line:
                raise ProductFailure(f"the push ended without {text!r}:\n{self.shown}")
            self.shown += line.decode(errors="replace")

    def end(self, timeout: float = 300) -> tuple[int, str]:
        """Wait for its end; status, and all that git showed."""
        _, rest = self._process.communicate(timeout=timeout)
        self.shown += rest.decode(errors="replace")
        return self._process.returncode, self.shown

    def break_off(self) -> None:
        """Kill git and ssh, as a lost connection does."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self.end()


def crew(machine: Device, command: str, stdin: bytes = b"", status: int = 0) -> Result:
    """A command of crew over SSH, which must end with that status."""
    done = machine.ask(command, user="crew", input=stdin, timeout=240)
    assert done.status == status, f"{command}: {done.status}\n{done.stdout}{done.stderr}"
    return done


def is_whole(machine: Device, app: str) -> None:
    """Wait until one container is there, of the release that serves; nothing half made is left.

    The release before it is retired when nobody talks to it any more.
    """
    folder = f"/mnt/persist/skiff/crew/apps/{app}"
    there = f"docker ps -a --filter label=crew.app={app} --format '{{{{.Names}}}}'"
    serving = f"{app}.web.1-$(basename $(readlink {folder}/current))"
    machine.wait_until_succeeds(f'test "$({there})" = "{serving}"', 120)
    assert machine.succeed(f"find {folder} -name 'incoming.*'") == ""


def page(machine: Device, app: str, path: str = "/") -> str:
    """What the router answers for an app's own name."""
    words = f"wget -q -O - -T 20 --header 'Host: {app}.skiff.local' http://127.0.0.1{path}"
    return machine.succeed(words)


@contextmanager
def tunnel(machine: Device, port: int) -> Iterator[int]:
    """A port of this machine that leads to one of the device, through SSH."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        here = free.getsockname()[1]
    words = enter(machine, options=("-N", "-L", f"{here}:127.0.0.1:{port}"), user="root")
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", here)).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise ProductFailure("no tunnel through SSH") from None
                time.sleep(0.1)
        yield here
    finally:
        process.terminate()
        process.wait()
