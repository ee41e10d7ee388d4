"""Small files that are there whole or not at all, whenever the power goes."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def write_atomically(path: Path, text: str, mode: int = 0o644, owner: tuple[int, int] | None = None) -> bool:
    """Put a small file in place so that nobody sees half of it; False when it already said that.

    owner is (uid, gid); it is left as it is where this process may not change it (tests).
    """
    # Bytes that are no UTF-8 are surrogates, as Python has them, and stay what they are.
    data = text.encode(errors="surrogateescape")
    same = False
    try:
        same = path.read_bytes() == data
    except OSError:
        path.parent.mkdir(parents=True, exist_ok=True)
    if same:
        _own(path, mode, owner)
        return False
    beside = path.with_name(f".{path.name}.skiff-new")
    try:
        # Nobody but its owner reads it before its mode is set: secrets are among what is written here.
        beside.unlink(missing_ok=True)
        with open(beside, "wb", opener=_private) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        # On a full disk half of it may be there.
        with suppress(OSError):
            beside.unlink()
        raise
    _own(beside, mode, owner)
    beside.replace(path)
    return True


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _own(path: Path, mode: int, owner: tuple[int, int] | None) -> None:
    path.chmod(mode)
    if owner is not None and os.geteuid() == 0:
        os.chown(path, *owner)
