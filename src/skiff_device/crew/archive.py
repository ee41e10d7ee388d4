"""A source tree that comes as an archive, made a commit: nothing of it is ever unpacked to files.

Its members go as one stream to `git fast-import`. So a hostile name has no file system to escape into, and
what follows is the same as after a push.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

from skiff_device.common import run
from skiff_device.common.errors import DeviceError
from skiff_device.crew import names, repo

# Where the commit is kept until it is deployed; clients of git never see it.
_REFERENCE = "refs/crew/archive"
_MEMBERS = 100_000
# Heads of tar that hold long names, and the index of a zip, are read into memory; in bytes.
_HEAD = 64 << 10
_INDEX = 16 << 20
_LINK = 4096
_END_OF_ZIP = struct.Struct("<4s4H2LH")
# How a packed tar begins, and what unpacks it.
_PACKED: dict[bytes, Any] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lambda file: io.BufferedReader(Xz(file)),
}
# Of unpacking xz, in bytes; `xz -9` needs 65 MB, and a head may ask for 4 GB.
_MEMORY = 80 << 20
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError,
           NotImplementedError, RuntimeError, UnicodeError, ValueError)  # fmt: skip


class Xz(io.RawIOBase):
    """A file unpacked from xz, in bounded memory: lzma.open knows no bound. Raises LZMAError, EOFError."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, as far as is known by now; 0 at the end."""
        while True:
            given = b""
            if self._stream.eof:
                # Several may follow each other, with zeros between.
                given = (self._stream.unused_data or self._file.read(1 << 16)).lstrip(b"\0")
                if not given:
                    return 0
                self._stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY)
            elif self._stream.needs_input and not (given := self._file.read(1 << 16)):
                raise EOFError("it is cut short")
            data = self._stream.decompress(given, len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)


class Member(NamedTuple):
    """A file of an archive as git knows it; mode is git's, size in bytes."""

    path: str
    mode: str
    size: int


def make_commit(archive: Path, message: str, parent: str, limit: int) -> str:
    """Make a commit of an archive (tar, also packed with gzip, bzip2 or xz, or zip) and return its name.

    The repository is the one of repo.use. Raises DeviceError for what is no archive, for members that do not
    belong in a source tree, and for more than ``limit`` bytes unpacked.
    """
    try:
        # Looked at wholly before anything is kept.
        top = _common_folder(member.path for member, _ in _bounded(archive, limit))
        done = run.feed(
            ["git", "fast-import", "--quiet", "--force"],
            lambda pipe: _import(pipe, _bounded(archive, limit), top, message, parent),
        )
    except _BROKEN as error:
        text = " ".join(str(error).split())[:200]
        raise DeviceError(
            f"the archive cannot be read: {text}", "tar, tar.gz, tar.bz2, tar.xz or zip"
        ) from None
    if done.status:
        raise DeviceError(f"the archive cannot be kept: {done.err.strip()[-200:]}", "is persist full?")
    return repo.commit(_REFERENCE)


def tidy(folder: Path) -> None:
    """Put away what an import that was ended left in a repository."""
    for leftover in (*folder.glob("objects/pack/tmp_*"), *folder.glob("fast_import_crash_*")):
        with suppress(OSError):
            leftover.unlink()


def _import(
    pipe: IO[bytes], members: Iterator[tuple[Member, IO[bytes]]], top: str, message: str, parent: str
) -> None:
    text = message.encode(errors="surrogateescape")
    pipe.write(f"commit {_REFERENCE}\ncommitter crew <crew@device> {int(time.time())} +0000\n".encode())
    pipe.write(b"data %d\n%s\n" % (len(text), text))
    if parent:
        pipe.write(f"from {parent}\ndeleteall\n".encode())
    for member, content in members:
        pipe.write(b"M %s inline %s\n" % (member.mode.encode(), _quoted(member.path[len(top) :])))
        pipe.write(b"data %d\n" % member.size)
        left = member.size
        while left and (data := content.read(min(1 << 16, left))):
            pipe.write(data)
            left -= len(data)
        if left:
            raise tarfile.ReadError(f"{names.shown(member.path)} is cut short")
        pipe.write(b"\n")


def _quoted(path: str) -> bytes:
    """A path as fast-import reads it, whatever bytes it has."""
    safe = b"".join(
        bytes([c]) if 32 <= c < 127 and c not in b'"\\' else b"\\%03o" % c
        for c in path.encode(errors="surrogateescape")
    )
    return b'"%s"' % safe


def _common_folder(paths: Iterator[str]) -> str:
    """The one folder that all files are in, with its slash; empty when there is none."""
    top = None
    for path in paths:
        head, slash, _ = path.partition("/")
        if top is None:
            top = head + slash
        if not slash or top != head + slash:
            # Not left at once: the rest is to be looked at too.
            top = ""
    if top is None:
        raise DeviceError("there is no file in the archive", "tar, tar.gz, tar.bz2, tar.xz or zip")
    return top


def _bounded(archive: Path, limit: int) -> Iterator[tuple[Member, IO[bytes]]]:
    """Members of an archive, while they are neither too many nor too much."""
    total = 0
    for count, (member, content) in enumerate(_members(archive), 1):
        total += member.size
        if total > limit or count > _MEMBERS:
            raise DeviceError(
                f"the archive holds more than {limit >> 20} MB or {_MEMBERS} files",
                "builder:set APP max-push SIZE, or leave out what no build needs",
            )
        yield member, content


def _members(archive: Path) -> Iterator[tuple[Member, IO[bytes]]]:
    with archive.open("rb") as file:
        magic = file.read(6)
        file.seek(0)
        if magic.startswith(b"PK"):
            yield from _of_zip(file)
            return
        opened = next((way for start, way in _PACKED.items() if magic.startswith(start)), None)
        with opened(file) if opened is not None else file as unpacked:
            yield from _of_tar(unpacked)


class Head(tarfile.TarInfo):
    """A head of a tar, of which long names are read only up to a bound."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if not self.isreg() and not self.isdir() and not self.issym() and self.size > _HEAD:
            raise tarfile.ReadError("a head is too long")
        return super()._proc_member(tar)  # type: ignore[misc,no-any-return]


def _of_tar(file: Any) -> Iterator[tuple[Member, IO[bytes]]]:
    with tarfile.open(fileobj=file, mode="r|", tarinfo=Head) as tar:
        for info in tar:
            # Bounded by the number of members; tarfile itself would remember them all.
            tar.members = []  # type: ignore[attr-defined]
            path = _path(info.name)
            if info.isdir():
                continue
            if info.issym():
                target = _target(path, info.linkname)
                yield Member(path, "120000", len(target)), io.BytesIO(target)
            elif info.isreg() and not info.issparse():
                content = tar.extractfile(info)
                assert content is not None
                yield Member(path, "100755" if info.mode & 0o111 else "100644", info.size), content
            else:
                raise DeviceError(
                    f"{names.shown(info.name)} is no file, folder or symbolic link", "leave it out"
                )


def _of_zip(file: BinaryIO) -> Iterator[tuple[Member, IO[bytes]]]:
    _check_index(file)
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            path = _path(info.filename)
            mode = info.external_attr >> 16
            if info.is_dir():
                continue
            if info.flag_bits & 1:
                raise DeviceError(f"{names.shown(info.filename)} is encrypted", "pack it without a password")
            if stat.S_ISLNK(mode):
                with archive.open(info) as link:
                    text = link.read(_LINK + 1)
                target = _target(path, text.decode(errors="surrogateescape"))
                yield Member(path, "120000", len(target)), io.BytesIO(target)
                continue
            with archive.open(info) as content:
                yield Member(path, "100755" if mode & 0o111 else "100644", info.file_size), content


def _check_index(file: BinaryIO) -> None:
    """Refuse a zip whose index is larger than any source tree's: it is read into memory at once."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _HEAD - _END_OF_ZIP.size))
    tail = file.read()
    place = tail.rfind(b"PK\5\6")
    if place < 0 or len(tail) - place < _END_OF_ZIP.size:
        raise zipfile.BadZipFile("its index is missing")
    fields = _END_OF_ZIP.unpack_from(tail, place)
    if fields[5] > _INDEX:
        raise DeviceError(f"the archive's index is larger than {_INDEX >> 20} MB", "use tar.gz")
    file.seek(0)


def _path(text: str) -> str:
    """A member's path within the tree. Raises DeviceError for one that leads elsewhere, or into .git."""
    parts = [part for part in text.split("/") if part not in ("", ".")]
    hostile = text.startswith("/") or ".." in parts or "\0" in text or len(text) > _LINK
    if hostile or any(part.lower() == ".git" for part in parts):
        raise DeviceError(f"{names.shown(text)!r} is no path of a source tree", "pack the tree again")
    return "/".join(parts)


def _target(path: str, target: str) -> bytes:
    """Where a symbolic link leads. Raises DeviceError when that is out of the tree."""
    depth = path.count("/")
    for part in target.split("/"):
        depth += -1 if part == ".." else 0 if part in ("", ".") else 1
        if depth < 0:
            break
    if depth < 0 or target.startswith("/") or not target or "\0" in target or len(target) > _LINK:
        raise DeviceError(f"{names.shown(path)!r} leads out of the tree", "leave the link out")
    return target.encode(errors="surrogateescape")


def spool(stream: BinaryIO, path: Path, limit: int, what: str) -> int:
    """Write a stream to a file; bytes written. Raises DeviceError beyond ``limit`` bytes."""
    left = limit
    with path.open("wb") as file:
        while data := stream.read(min(1 << 16, left + 1)):
            left -= len(data)
            if left < 0:
                raise DeviceError(f"{what} is larger than {limit >> 20} MB", "builder:set APP max-push SIZE")
            file.write(data)
    if left == limit:
        raise DeviceError(f"{what} is empty", "give it on standard input")
    return limit - left
