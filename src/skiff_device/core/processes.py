"""Processes of an account on the host itself; those in containers may have its number and are left alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path


def of_user(proc: Path, uid: int) -> Iterator[tuple[int, int]]:
    """(pid, parent's pid) of each process of a uid that sees the same file systems as we do."""
    here = _mounts(proc / "self")
    for folder in proc.iterdir():
        if not folder.name.isdigit():
            continue
        fields = _status(folder)
        uids = fields.get("Uid", "").split()
        if str(uid) in uids and here and _mounts(folder) == here:
            yield int(folder.name), int(fields.get("PPid", "0"))


def end_sessions(proc: Path, uid: int, kill: Callable[[int, int], None] = os.kill) -> int:
    """End every session of a uid at once, and the SSH connections they came by; returns how many."""
    ended: set[int] = set()
    for pid, parent in list(of_user(proc, uid)):
        # The connection's own process may be root's: with it alone, another channel could be opened.
        if _status(proc / str(parent)).get("Name") == "dropbear" and _is_connection(proc, parent):
            ended.add(parent)
        ended.add(pid)
    for pid in sorted(ended):
        try:
            kill(pid, signal.SIGKILL)
        except OSError:
            continue
    return len(ended)


def _is_connection(proc: Path, pid: int) -> bool:
    """Whether a dropbear serves one connection: the one that listens has no dropbear above it."""
    fields = _status(proc / str(pid))
    above = _status(proc / fields.get("PPid", "0")).get("Name", "")
    return above in ("dropbear", "tcpsvd", "inetd")


def _status(folder: Path) -> dict[str, str]:
    try:
        lines = (folder / "status").read_text(errors="replace").splitlines()
    except OSError:
        return {}
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _mounts(folder: Path) -> str:
    try:
        return str((folder / "ns/mnt").readlink())
    except OSError:
        return ""
