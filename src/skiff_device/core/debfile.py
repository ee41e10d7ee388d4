"""Reads Debian package files: what they hold, one entry after the other, without unpacking to disk."""

from __future__ import annotations

import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from skiff_device.common.errors import DeviceError

_MAGIC = b"!<arch>\n"
_HEADER = 60
# How the archive in a package is packed, by the end of its name.
_PACKED = {"": "", ".gz": "gz", ".xz": "xz"}


class _Part:
    """The next ``size`` bytes of a file, as a file."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size

    def read(self, size: int) -> bytes:
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        return data


def entries(deb: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """Each file, folder and link of a package, its path without a leading `./`; and a file's content.

    The content can be read until the next entry is asked for. Raises DeviceError for a file that is no
    package, and for what no package may hold: a path that leaves it, a device.
    """
    yield from _members(deb, "data.tar")


def control(deb: Path) -> dict[str, bytes]:
    """What a package says of itself, by file: `control`, `conffiles`, `postinst` … Raises DeviceError."""
    return {info.name: content.read() for info, content in _members(deb, "control.tar") if content}


def _members(deb: Path, archive_name: str) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    try:
        with deb.open("rb") as file:
            part, packed = _archive(file, deb, archive_name)
            with tarfile.open(fileobj=part, mode=f"r|{packed}") as archive:  # type: ignore[call-overload]
                for member in archive:
                    name = _inside(member.name, deb)
                    if not name:
                        continue
                    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
                        raise DeviceError(f"{deb.name}: {name} is neither file, folder nor link")
                    member.name = name
                    if member.islnk():
                        member.linkname = _inside(member.linkname, deb)
                    yield member, archive.extractfile(member) if member.isreg() else None
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, ValueError) as error:
        raise DeviceError(f"{deb.name}: not a package that can be read: {error}") from error


def _archive(file: IO[bytes], deb: Path, wanted: str) -> tuple[_Part, str]:
    """One of the two archives in the package, and how it is packed."""
    if file.read(len(_MAGIC)) != _MAGIC:
        raise DeviceError(f"{deb.name}: not a Debian package")
    while len(header := file.read(_HEADER)) == _HEADER:
        name = header[:16].decode("ascii", errors="replace").strip().rstrip("/")
        size = int(header[48:58])
        if size < 0 or header[58:] != b"`\n":
            break
        if name.startswith(wanted):
            packed = _PACKED.get(name.removeprefix(wanted))
            if packed is None:
                raise DeviceError(f"{deb.name}: {name}: only gzip and xz can be unpacked")
            return _Part(file, size), packed
        # Parts begin at even places.
        file.seek(size + size % 2, io.SEEK_CUR)
    raise DeviceError(f"{deb.name}: a package without {wanted}, or cut short")


def _inside(name: str, deb: Path) -> str:
    """The path as one below the package's root, empty for that itself."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or name.startswith("/") or "\0" in name:
        raise DeviceError(f"{deb.name}: path {name!r} leaves the package")
    return "/".join(parts)
