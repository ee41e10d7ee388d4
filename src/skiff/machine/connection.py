"""One SSH connection that several commands share: a small board takes a second or more to open each."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgspec

from skiff.host.run import DEVNULL, PIPE, spawn
from skiff.machine.remote import Remote


@contextmanager
def shared(remote: Remote) -> Iterator[Remote]:
    """The device, its commands sharing one connection (ssh_config(5), ControlMaster) until the block is left.

    Where that cannot be opened, or breaks, each command connects by itself and tells why it cannot.
    """
    with tempfile.TemporaryDirectory(prefix="skiff-ssh-") as folder:
        path = f"ControlPath={folder}/s"
        # It ends with its input, so also when this program is killed.
        master = _with(remote, "ControlMaster=yes", path, "ControlPersist=no").argv(["cat"])
        start = remote.group.started if remote.group else spawn
        with start(master, stdin=PIPE, stdout=PIPE, stderr=DEVNULL) as process:
            assert process.stdin is not None and process.stdout is not None
            try:
                with suppress(OSError):
                    process.stdin.write(b"\n")
                    process.stdin.flush()
                opened = process.stdout.read(1) == b"\n"
                yield _with(remote, "ControlMaster=no", path) if opened else remote
            finally:
                process.terminate()
                with suppress(OSError):
                    process.stdin.close()


def _with(remote: Remote, *settings: str) -> Remote:
    """The device with settings of ssh that win over those it has."""
    program, *words = remote.ssh
    return msgspec.structs.replace(
        remote, ssh=(program, *(word for setting in settings for word in ("-o", setting)), *words)
    )
