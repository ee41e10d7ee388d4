"""Pushes as they are: git's client and git-receive-pack, with crew's own hook and settings."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from tests.tool.crew_device import SOURCE, CrewDevice

LAYER = Path(__file__).parents[2] / "layers/apps/crew/rootfs"
_CREW = f"{sys.executable} -m skiff_device.crew"


class Pusher:
    """A client of git, and the device's end of the connection as `sshd` starts it."""

    def __init__(self, crew: CrewDevice, folder: Path) -> None:
        self.crew = crew
        self.folder = folder
        # Name of the key that it logs in with.
        self.key = "root"
        hooks = crew.paths.root / "usr/lib/skiff/crew/hooks"
        hooks.mkdir(parents=True)
        self._hook = hooks / "pre-receive"
        self._hook.write_text(f"#!/bin/sh\nexec {_CREW} pre-receive\n")
        self._hook.chmod(0o755)
        config = (LAYER / "usr/lib/skiff/crew/gitconfig").read_text()
        (crew.paths.root / "usr/lib/skiff/crew/gitconfig").write_text(
            config.replace("/usr/lib/skiff/crew/hooks", str(hooks))
        )
        ssh = crew.bin / "ssh"
        serve = f'SSH_ORIGINAL_COMMAND="$1" exec {_CREW} serve "$KEY"'
        ssh.write_text(f"#!/bin/sh\nwhile [ $# -gt 1 ]; do shift; done\n{serve}\n")
        ssh.chmod(0o755)
        self.git("init", "-q", "-b", "main", ".")

    def git(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run git on the workstation."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        env |= {"PYTHONPATH": str(SOURCE), "GIT_SSH": str(self.crew.bin / "ssh"), "GIT_SSH_VARIANT": "simple"}
        env |= {"HOME": str(self.folder), "GIT_CONFIG_NOSYSTEM": "1", "KEY": self.key}
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.version=0"]
        return subprocess.run(
            ["git", *who, *words], cwd=self.folder, env=env, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    def amid(self, *words: str) -> None:
        """From now on somebody else gives a command of crew's while a push is on its way."""
        given = f"{_CREW} {shlex.join(words)} >&2"
        self._hook.write_text(self._hook.read_text().replace("\nexec", f"\n{given}\nexec"))

    def commit(self, **files: str) -> None:
        """Commit files; a text that begins with -> is a symbolic link."""
        for name, text in files.items():
            path = self.folder / name
            path.unlink(missing_ok=True)
            if text.startswith("->"):
                path.symlink_to(text[2:])
            else:
                path.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "x")


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """What the client is told about a push that was refused; never a traceback."""
    assert done.returncode != 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr
