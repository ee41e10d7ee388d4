"""The QEMU process of a workspace: found, watched and ended without ever touching another's."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

from skiff.machine.files import MachineFiles


class Process:
    """A running QEMU, held by a descriptor: the number cannot be handed to another meanwhile."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self._descriptor = descriptor

    @classmethod
    def find(cls, files: MachineFiles) -> Process | None:
        """The process that QEMU's pid file names, if it truly is this workspace's QEMU."""
        try:
            pid = int(files.pid.read_text())
            descriptor = os.pidfd_open(pid)
        except (OSError, ValueError):
            return None
        # Only after the descriptor is open does the command line belong to it for sure.
        if _is_ours(pid, files):
            return cls(pid, descriptor)
        os.close(descriptor)
        return None

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it; it runs on."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def wait(self, timeout: float) -> bool:
        """Whether it has ended, waiting up to ``timeout`` seconds for that."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(max(0, round(timeout * 1000))))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when it has ended."""
        try:
            signal.pidfd_send_signal(self._descriptor, number)
        except ProcessLookupError:
            return


def _is_ours(pid: int, files: MachineFiles) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return os.fsencode(files.pid) in words
