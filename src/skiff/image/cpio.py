"""A newc cpio archive, the initramfs format of the kernel's driver-api/early-userspace/buffer-format."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from typing import BinaryIO

from skiff.model.tree import Entry, Kind

_TYPE = {Kind.FILE: 0o100000, Kind.DIR: 0o040000, Kind.LINK: 0o120000, Kind.CHAR: 0o020000}
# The kernel allows file systems of several archives in a row, each starting on 4 bytes.
_ALIGN = 4


def write_cpio(out: BinaryIO, entries: Iterable[tuple[str, Entry]], epoch: int) -> None:
    """Write the entries in the given order; folders must come before what is in them."""
    number = 1
    for path, entry in entries:
        body = entry.target.encode() if entry.kind is Kind.LINK else None
        size = len(body) if body is not None else entry.size
        _header(out, number, path, entry, size, epoch)
        if body is not None:
            out.write(body)
        elif isinstance(entry.source, bytes):
            out.write(entry.source)
        else:
            with entry.source.open("rb") as stream:
                shutil.copyfileobj(stream, out, 1 << 20)
        out.write(b"\0" * (-size % _ALIGN))
        number += 1
    _header(out, 0, "TRAILER!!!", Entry(Kind.FILE, 0, ""), 0, 0)


def _header(out: BinaryIO, number: int, path: str, entry: Entry, size: int, epoch: int) -> None:
    name = path.encode() + b"\0"
    mode = 0 if number == 0 else _TYPE[entry.kind] | entry.mode
    links = 2 if entry.kind is Kind.DIR else 1
    major, minor = entry.device
    fields = (number, mode, entry.uid, entry.gid, links, epoch, size, 0, 0, major, minor, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    out.write(header + b"\0" * (-len(header) % _ALIGN))
