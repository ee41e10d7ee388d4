"""A tree into squashfs files: one for each part of the image, cached by content."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from skiff.host.files import digest, file_digest
from skiff.host.run import PIPE, failure, require, run, spawn, which
from skiff.model.tree import Entry, Kind

_TYPES = {
    Kind.FILE: tarfile.REGTYPE,
    Kind.DIR: tarfile.DIRTYPE,
    Kind.LINK: tarfile.SYMTYPE,
    Kind.CHAR: tarfile.CHRTYPE,
}


class Compression(msgspec.Struct, frozen=True):
    """How one squashfs is packed: mksquashfs' words for it."""

    compressor: str
    block: str
    options: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """Command-line words."""
        return ("-comp", self.compressor, "-b", self.block, *self.options)


class _Hashes:
    """SHA-256 of cached files, which never change under one path."""

    def __init__(self) -> None:
        self.known: dict[Path, str] = {}

    def of(self, entry: Entry) -> str:
        if isinstance(entry.source, bytes):
            return digest(entry.source)
        if entry.source not in self.known:
            self.known[entry.source] = file_digest(entry.source)
        return self.known[entry.source]


def describe(entries: Mapping[str, Entry], hashes: _Hashes) -> str:
    """Everything of a part that ends in its bytes, as text: the key of the cache."""
    lines = []
    for path in sorted(entries):
        entry = entries[path]
        content = hashes.of(entry) if entry.kind is Kind.FILE else f"{entry.target}{entry.device}"
        lines.append(f"{path}\0{entry.kind.value}\0{entry.mode:o}\0{entry.uid}\0{entry.gid}\0{content}")
    return "\n".join(lines)


def pack_part(entries: Mapping[str, Entry], compression: Compression, epoch: int, cache: Path) -> Path:
    """The squashfs file for these entries, from the cache when it was made before."""
    require("mksquashfs")
    key = digest(f"{compression}\n{epoch}\n{describe(entries, _Hashes())}")
    made = cache / "squashfs" / f"{key}.squashfs"
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".squashfs-", dir=made.parent)
        os.close(handle)
        partial = Path(name)
        try:
            _write(entries, compression, epoch, partial)
            partial.replace(made)
        finally:
            partial.unlink(missing_ok=True)
    made.touch()
    return made


def _write(entries: Mapping[str, Entry], compression: Compression, epoch: int, target: Path) -> None:
    argv = [
        *_as_root(), "mksquashfs", "-", str(target), "-tar", "-noappend", *compression.words,
        "-no-progress", "-no-xattrs", "-exit-on-error",
        "-mkfs-time", str(epoch), "-all-time", str(epoch),
        "-root-mode", "0755", "-root-uid", "0", "-root-gid", "0",
    ]  # fmt: skip
    # It takes this variable, which builds in CI have, or words for times, and not both.
    process = spawn(argv, stdin=PIPE, stdout=PIPE, stderr=PIPE, env={"SOURCE_DATE_EPOCH": None})
    assert process.stdin is not None
    try:
        with tarfile.open(
            fileobj=process.stdin, mode="w|", format=tarfile.GNU_FORMAT, bufsize=1 << 20
        ) as archive:
            for path, entry in ordered(entries):
                _append(archive, path, entry, epoch)
    except BrokenPipeError:
        pass  # It stopped reading: its exit status says why.
    except BaseException:
        process.kill()
        process.communicate()
        raise
    _, errors = process.communicate()
    if process.returncode != 0:
        raise failure(argv, process.returncode, errors.decode(errors="replace"))


def _as_root() -> list[str]:
    """Words before a program, so that it takes itself for root's.

    mksquashfs (4.5) enters the user who runs it into the table of owners even when no file is theirs. Where
    there are no user namespaces, images of the same recipe differ between users by that entry.
    """
    words = ["unshare", "--map-root-user"]
    if os.geteuid() == 0 or which("unshare") is None or run([*words, "true"], check=False).returncode != 0:
        return []
    return words


def ordered(entries: Mapping[str, Entry]) -> Iterable[tuple[str, Entry]]:
    """Entries so that every folder comes before what is in it."""
    return ((path, entries[path]) for path in sorted(entries))


def _append(archive: tarfile.TarFile, path: str, entry: Entry, epoch: int) -> None:
    info = tarfile.TarInfo(path)
    info.type = _TYPES[entry.kind]
    info.mode, info.uid, info.gid, info.mtime = entry.mode, entry.uid, entry.gid, epoch
    info.linkname = entry.target
    info.devmajor, info.devminor = entry.device
    if entry.kind is not Kind.FILE:
        archive.addfile(info)
    elif isinstance(entry.source, bytes):
        info.size = len(entry.source)
        archive.addfile(info, io.BytesIO(entry.source))
    else:
        info.size = entry.size
        with entry.source.open("rb") as stream:
            archive.addfile(info, stream)
