"""Real SSH servers on loopback addresses: 127.0.0.1, 127.0.0.2 … are devices, and root's home is a folder."""

from __future__ import annotations

import os
import shlex
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from skiff.host.ports import free_port
from skiff.host.run import DEVNULL, run, spawn, which


class Servers(msgspec.Struct, frozen=True):
    """Where they answer, and with which key."""

    port: int
    key: Path
    folder: Path

    def inventory(self, count: int) -> Path:
        """A file with so many devices."""
        file = self.folder / f"hosts-{count}.toml"
        file.write_text(
            f"hosts = ['127.0.0.[1:{count}]']\n[defaults]\nport = {self.port}\nkey = '{self.key}'\n"
            f"ssh_options = ['UserKnownHostsFile={self.folder}/known_hosts']\n"
        )
        return file


def missing() -> str:
    """Why there can be none here; empty when there can."""
    if os.geteuid() != 0:
        return "needs root, to give root another home within a namespace of its own"
    return "" if which("dropbear") else "needs the package dropbear-bin"


# Root's shell there: programs of the folder come first, and know by $DEVICE which server was asked.
_SHELL = """#!/bin/sh
address=${{SSH_CONNECTION% *}}
export DEVICE={folder}/devices/${{address##* }} PATH={folder}/bin:$PATH
exec /bin/sh "$@"
"""


@contextmanager
def ssh_servers(folder: Path, count: int, programs: dict[str, str] | None = None) -> Iterator[Servers]:
    """They run while the block does. programs are scripts on each; $DEVICE is its own folder for them."""
    home, key, own = folder / "home", folder / "key", folder / "host_key"
    (home / ".ssh").mkdir(parents=True)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])
    run(["dropbearkey", "-t", "ed25519", "-f", own])
    (home / ".ssh/authorized_keys").write_bytes(key.with_name("key.pub").read_bytes())
    shell = folder / "shell"
    _script(shell, _SHELL.format(folder=shlex.quote(str(folder))))
    (folder / "passwd").write_text(f"root:x:0:0:root:{home}:{shell if programs else '/bin/sh'}\n")
    (folder / "shells").write_text(f"/bin/sh\n{shell}\n")
    for name, body in (programs or {}).items():
        _script(folder / "bin" / name, f"#!/bin/sh\n{body}\n")
    port = free_port()
    # One for each: a server takes only so many log-ins from one client at a time.
    start = f"dropbear -F -E -m -r {shlex.quote(str(own))} -P '' -p 127.0.0.$n:{port} &"
    line = (
        f"mount --bind {shlex.quote(str(folder / 'passwd'))} /etc/passwd || exit\n"
        f"mount --bind {shlex.quote(str(folder / 'shells'))} /etc/shells || exit\n"
        f"for n in $(seq {count}); do {start} done; wait"
    )
    with (folder / "log").open("wb") as log:
        # With the namespace of processes all of them end.
        words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", line]
        servers = spawn(words, stdin=DEVNULL, stdout=log, stderr=log)
    try:
        for number in range(1, count + 1):
            while not _answers(f"127.0.0.{number}", port):
                assert servers.poll() is None, (folder / "log").read_text()
        yield Servers(port, key, folder)
    finally:
        servers.kill()
        servers.wait()


def _answers(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), 1):
            return True
    except OSError:
        return False


def _script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
