"""What `skiff flash` writes: a packed disk image with its checksum and block map, read in one go."""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import IO

import msgspec

from skiff.host.errors import UserError
from skiff.host.files import file_digest
from skiff.host.run import DEVNULL, PIPE, require, spawn
from skiff.model.disk import BLOCK, DiskImage

# Written and read at once.
CHUNK = 4 << 20
_AGAIN = "make it anew with `skiff disk`"


class Range(msgspec.Struct, frozen=True):
    """Bytes that have to be written, from ``start`` up to ``end``, and their checksum."""

    start: int
    end: int
    sha256: str


class Packed(msgspec.Struct, frozen=True):
    """A packed image that was checked."""

    path: Path
    # Of the image unpacked.
    bytes: int
    ranges: tuple[Range, ...]

    @property
    def mapped(self) -> int:
        """Bytes that have to be written."""
        return sum(one.end - one.start for one in self.ranges)


def open_packed(path: Path) -> Packed:
    """The image `NAME.img.zst` with `NAME.img.bmap` and, if it is there, `NAME.img.zst.sha256`, checked.

    Raises UserError when a file is missing, damaged, or not what it should be.
    """
    require("zstd")
    if path.is_dir():
        raise UserError(f"{path}: a folder", hint="name the image in it: NAME.img.zst")
    if not path.is_file():
        raise UserError(f"{path}: there is no such file", hint="`skiff disk` makes disk images")
    if path.suffix != ".zst":
        raise UserError(f"{path}: not a packed disk image (NAME.img.zst)", hint="`skiff disk` makes them")
    _check_sum(path)
    size, ranges = read_map(path.with_suffix(".bmap"))
    return Packed(path, size, ranges)


def of_disk(made: DiskImage) -> Packed:
    """The same for what `skiff disk` has made."""
    return open_packed(made.packed.path)


def _check_sum(path: Path) -> None:
    file = path.with_name(f"{path.name}.sha256")
    if not file.exists():
        return
    wanted = file.read_text(errors="replace").split()
    if not wanted or not re.fullmatch("[0-9a-f]{64}", wanted[0]):
        raise UserError(f"{file}: not a checksum file", hint=_AGAIN)
    if file_digest(path) != wanted[0]:
        raise UserError(f"{path}: damaged: its checksum is not the one in {file.name}", hint=_AGAIN)


def read_map(path: Path) -> tuple[int, tuple[Range, ...]]:
    """Size of an image, and what of it has to be written, from its block map (bmaptool's format 2.0).

    Raises UserError when it is not there, damaged, or not the map of a disk.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: there is no block map", hint=f"it lies beside the image; {_AGAIN}"
        ) from error
    try:
        top = ElementTree.fromstring(data)
        own = _value(top, "BmapFileChecksum")
        if hashlib.sha256(data.replace(own.encode(), b"0" * 64, 1)).hexdigest() != own:
            raise ValueError("its own checksum is wrong")
        size = int(_value(top, "ImageSize"))
        if _value(top, "ChecksumType") != "sha256" or int(_value(top, "BlockSize")) != BLOCK:
            raise ValueError(f"only sha256 and blocks of {BLOCK} bytes are known")
        ranges = tuple(_range(item, size) for item in top.iterfind("BlockMap/Range"))
        _check_ranges(ranges, size)
    except (ElementTree.ParseError, ValueError) as error:
        raise UserError(f"{path}: not a good block map: {error}", hint=_AGAIN) from error
    return size, ranges


def _value(top: ElementTree.Element, name: str) -> str:
    text = (top.findtext(name) or "").strip()
    if not text:
        raise ValueError(f"no {name}")
    return text


def _range(item: ElementTree.Element, size: int) -> Range:
    first, _, last = (item.text or "").strip().partition("-")
    chksum = item.get("chksum", "")
    if not re.fullmatch("[0-9a-f]{64}", chksum):
        raise ValueError(f"no checksum for blocks {first}-{last}")
    end = (int(last or first) + 1) * BLOCK
    # The last block of an image may be a shorter one.
    return Range(int(first) * BLOCK, size if size < end < size + BLOCK else end, chksum)


def _check_ranges(ranges: tuple[Range, ...], size: int) -> None:
    if not ranges or ranges[0].start != 0:
        raise ValueError("the first block is not in it, where a disk has its partition table")
    if any(one.start >= one.end or one.end > size for one in ranges):
        raise ValueError("blocks outside of the image")
    if any(before.end > after.start for before, after in pairwise(ranges)):
        raise ValueError("blocks twice, or not in order")


def mapped_parts(packed: Packed) -> Generator[tuple[int, bytes], None, None]:
    """What has to be written: position and bytes, in order, CHUNK at most.

    Raises UserError as soon as the bytes are not those of the map.
    """
    at = 0
    with _unpacked(packed.path) as stream:
        for one in packed.ranges:
            while at < one.start:
                at += len(_read(stream, min(CHUNK, one.start - at), packed.path))
            digest = hashlib.sha256()
            while at < one.end:
                # Pieces begin at multiples of CHUNK, as flash memory likes it.
                part = _read(stream, min(CHUNK - at % CHUNK, one.end - at), packed.path)
                digest.update(part)
                yield at, part
                at += len(part)
            if digest.hexdigest() != one.sha256:
                raise UserError(
                    f"{packed.path}: bytes {one.start} to {one.end} are not those of its block map",
                    hint=f"image and map do not belong together; {_AGAIN}",
                )


def has_gpt(packed: Packed) -> bool:
    """Whether the image has a GPT (its header is sector 1: UEFI specification, 5.3.2)."""
    with _unpacked(packed.path) as stream:
        return _read(stream, BLOCK, packed.path)[512:520] == b"EFI PART"


@contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    with spawn(["zstd", "-dqc", path], stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL) as unpacker:
        assert unpacker.stdout is not None
        yield unpacker.stdout


def _read(stream: IO[bytes], size: int, path: Path) -> bytes:
    part = stream.read(size)
    if len(part) != size:
        raise UserError(f"{path}: damaged: it cannot be unpacked to its end", hint=_AGAIN)
    return part
