"""Small file jobs that several stages share: atomic writes and content hashes."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from pathlib import Path


def write_atomic(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file so that it is there whole or not at all. Nothing happens when it has these bytes."""
    if path.exists() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Neither another process nor another thread that writes the same may come between.
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_native_id()}")
    partial.unlink(missing_ok=True)
    try:
        # Nobody may read for a moment what is not for everybody.
        partial.touch(mode=0o600, exist_ok=False)
        partial.write_bytes(data)
        partial.chmod(mode)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def digest(data: str | bytes) -> str:
    """SHA-256 of a value, in hex."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keep_folder(new: Path, target: Path) -> None:
    """Put a finished folder at its place in the cache. One that another process put there meanwhile stays:
    it holds the same, and may be in use."""
    try:
        new.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def swap_folder(new: Path, target: Path) -> None:
    """Put a folder in another's place: the old one is there, or none for a moment, or the new one, whole."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, which it keeps when the first is gone; a copy where that cannot be."""
    try:
        target.hardlink_to(source)
    except OSError:
        # Another file system, one that knows no such names, or a file of another user's.
        shutil.copyfile(source, target)


def at_home(path: str | Path) -> Path:
    """A path with the home folder in place of `~` or `~user`. An unknown user's stays, as in a shell."""
    return Path(os.path.expanduser(path))  # noqa: PTH111


def shown(path: Path) -> str:
    """A path as messages show it: relative to the current folder when it lies there."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
