"""A log of all that was written to a disk, and the disk as a power cut in its midst may leave it.

QEMU writes such logs in the format of the kernel's dm-log-writes, 512 bytes a sector (kernel documentation,
admin-guide/device-mapper/log-writes.rst; drivers/md/dm-log-writes.c).
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from tests.vm import disks

SECTOR = 512
_MAGIC = 0x6A736677736872
_SUPER = struct.Struct("<QQQI")
_ENTRY = struct.Struct("<QQQQ")
_FLUSH, _FUA, _DISCARD = 1, 2, 4


class Entry(msgspec.Struct, frozen=True):
    """One thing that the disk was told. ``at`` and ``size`` in bytes; ``data``: where in the log it is."""

    at: int
    size: int
    flags: int
    data: int

    @property
    def settles(self) -> bool:
        """Whether all that was written before it is on the medium from here on."""
        return bool(self.flags & (_FLUSH | _FUA))


def entries(log: Path) -> list[Entry]:
    """All entries of a log, as far as the disk was last told to flush. Raises ValueError."""
    found = []
    with log.open("rb") as file:
        magic, version, count, sector = _SUPER.unpack(file.read(_SUPER.size))
        if (magic, version, sector) != (_MAGIC, 1, SECTOR):
            raise ValueError(f"{log}: no log of writes")
        here = SECTOR
        for _ in range(count):
            file.seek(here)
            at, sectors, flags, _ = _ENTRY.unpack(file.read(_ENTRY.size))
            here += SECTOR
            size = sectors * SECTOR
            found.append(Entry(at * SECTOR, size, flags, here))
            here += 0 if flags & _DISCARD else size
    return found


class Replay:
    """A disk that goes through a log; at any moment it can be copied as a power cut would leave it."""

    def __init__(self, log: Path, disk: Path) -> None:
        """``disk`` is as it was when the log began, and is written to."""
        self._log, self._disk = log, disk
        # What it was told and need not have done yet.
        self._waiting: list[Entry] = []

    def play(self, some: Iterable[Entry]) -> None:
        """Go on by these."""
        for entry in some:
            if entry.settles:
                self._do(self._disk, self._waiting)
                self._waiting.clear()
            if entry.size:
                if entry.flags & _FUA:
                    self._do(self._disk, [entry])
                else:
                    self._waiting.append(entry)

    def kept(self, target: Path) -> Path:
        """The disk if it had done all that it was told."""
        self._do(disks.copy(self._disk, target), self._waiting)
        return target

    def lost(self, target: Path, chance: random.Random) -> Path:
        """The disk if any part of what waited was done: of each write all, nothing, or some sectors."""
        disks.copy(self._disk, target)
        self._do(target, [part for entry in self._waiting for part in _some_of(entry, chance)])
        return target

    def _do(self, disk: Path, some: Sequence[Entry]) -> None:
        with self._log.open("rb") as log, disk.open("r+b") as file:
            for entry in some:
                file.seek(entry.at)
                # What is given up need not be zero; that it is nothing else makes it worse.
                file.write(bytes(entry.size) if entry.flags & _DISCARD else _read(log.fileno(), entry))


def _read(log: int, entry: Entry) -> bytes:
    return os.pread(log, entry.size, entry.data)


def _some_of(entry: Entry, chance: random.Random) -> Iterator[Entry]:
    fate = chance.choice(("done", "lost", "torn"))
    if fate == "done":
        yield entry
    if fate == "torn" and not entry.flags & _DISCARD:
        for here in range(0, entry.size, SECTOR):
            if chance.random() < 0.5:
                yield Entry(entry.at + here, SECTOR, 0, entry.data + here)
