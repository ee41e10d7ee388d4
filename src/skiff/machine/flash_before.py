"""What is on a disk before `skiff flash` writes it: its partitions, and a persist partition to keep."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from skiff.host import json
from skiff.host.disks import size_words
from skiff.host.errors import UserError
from skiff.host.run import require, run
from skiff.model.disk import BOOT_LABEL, GPT_COPY, MIB, SECTOR

LABEL = "persist"
# The first block while a disk is being written: no partition table, for nobody may start from it.
_MARK = b"skiff flash has not finished this disk\npersist=%d\n"


class Part(msgspec.Struct, frozen=True):
    """A partition, or persist without one; in bytes."""

    number: int
    # Of the partition, else of the ext file system in it; may be empty.
    name: str
    start: int
    size: int


class Persist(msgspec.Struct, frozen=True):
    """A persist partition that was found; in bytes."""

    start: int
    # First byte after the file system; 0 when it is none that can be read.
    end: int


class Before(msgspec.Struct, frozen=True):
    """What a disk holds."""

    parts: tuple[Part, ...] = ()
    persist: Persist | None = None
    # Writing it was interrupted.
    unfinished: bool = False
    # Nothing but zeros at its start.
    blank: bool = False

    def lines(self, keep: bool) -> list[str]:
        """One line for each partition, and what becomes of it."""
        found = []
        for part in self.parts:
            mine = self.persist is not None and part.start == self.persist.start
            fate = "kept" if mine and keep else "written anew" if part.name == BOOT_LABEL else "LOST"
            name = part.name or "(no name)"
            found.append(f"  {part.number or '-':>2}  {name:16} {size_words(part.size):>10}  {fate}")
        return found


def mark(before: Before) -> bytes:
    """The first block while the disk is being written. It remembers where persist is."""
    return (_MARK % (before.persist.start if before.persist else 0)).ljust(4096, b"\0")


def look(path: Path, image_bytes: int) -> Before:
    """What a disk, or a file that stands for one, holds. ``image_bytes``: where an image ends, and persist
    begins even when no table says so. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        head = os.pread(fd, 4096, 0)
        marked = re.match(_MARK.replace(b"%d", rb"(\d+)"), head)
        parts = [] if marked or not any(head) else _partitions(path, fd)
        starts = [part.start for part in parts if part.name == LABEL]
        if marked and int(marked[1]):
            starts.append(int(marked[1]))
        end = _file_system(fd, image_bytes)[1]
        if end and image_bytes not in starts and not any(_covers(part, image_bytes) for part in parts):
            starts.append(image_bytes)
        persist = Persist(starts[0], _file_system(fd, starts[0])[1]) if starts else None
        if persist and persist.end and all(part.start != persist.start for part in parts):
            parts.append(Part(0, LABEL, persist.start, persist.end - persist.start))
        return Before(tuple(parts), persist, bool(marked), not any(head))
    finally:
        os.close(fd)


def _covers(part: Part, at: int) -> bool:
    return part.start <= at < part.start + part.size


def _partitions(path: Path, fd: int) -> list[Part]:
    require("sfdisk")
    done = run(["sfdisk", "--json", path], check=False)
    if done.returncode != 0:
        return []
    table = json.decode(done.stdout, _Dump).partitiontable
    found = []
    for number, item in enumerate(table.partitions, 1):
        start, size = item.start * table.sectorsize, item.size * table.sectorsize
        tail = re.search(r"(\d+)$", item.node)
        name = item.name or _file_system(fd, start)[0] or _fat_label(fd, start)
        found.append(Part(int(tail[1]) if tail else number, name, start, size))
    return found


class _Entry(msgspec.Struct):
    node: str
    start: int
    size: int
    name: str = ""


class _Table(msgspec.Struct):
    partitions: tuple[_Entry, ...] = ()
    sectorsize: int = SECTOR


class _Dump(msgspec.Struct):
    partitiontable: _Table


def _fat_label(fd: int, start: int) -> str:
    """Label of a FAT32 file system: 11 bytes at 71 of its first sector (fatgen103). Empty when it is none."""
    sector = os.pread(fd, SECTOR, start)
    return sector[71:82].decode("latin-1").strip() if sector[82:87] == b"FAT32" else ""


def _file_system(fd: int, start: int) -> tuple[str, int]:
    """Label of an ext2, 3 or 4 file system, and for persist the first byte after it; empty and 0 else.

    Offsets in its superblock: the kernel's Documentation/filesystems/ext4/super.rst.
    """
    block = os.pread(fd, 1024, start + 1024)
    if len(block) < 1024 or block[56:58] != b"\x53\xef":
        return "", 0
    label = block[120:136].split(b"\0")[0].decode("latin-1")
    count = int.from_bytes(block[4:8], "little")
    if int.from_bytes(block[96:100], "little") & 0x80:
        count |= int.from_bytes(block[336:340], "little") << 32
    size = count << (10 + int.from_bytes(block[24:28], "little"))
    return label, start + size if label == LABEL else 0


def check_keep(before: Before, path: Path, image_bytes: int, disk_bytes: int, gpt: bool) -> None:
    """Raise UserError when there is a persist partition that the device could not take back after writing."""
    found = before.persist
    if found is None:
        return
    limit = disk_bytes - (GPT_COPY if gpt else 0)
    if not found.end:
        why = "its file system cannot be read"
    elif found.start < image_bytes:
        why = f"it begins at {found.start // MIB} MiB, and the image reaches to {image_bytes // MIB} MiB"
    elif found.start > image_bytes:
        why = (
            f"it begins at {found.start // MIB} MiB, and the device looks for it at {image_bytes // MIB} MiB"
        )
    elif found.end > limit:
        why = "it reaches to the disk's very end, where this image needs room for its partition table"
    else:
        return
    raise UserError(
        f"{path}: its persist partition cannot be kept: {why}",
        hint="save what is on it, then give --wipe-persist; or take an image with the same [disk] size",
    )
