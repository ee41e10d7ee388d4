"""Package files into the cache: each unpacked once, with its owners and modes in an index beside it."""

from __future__ import annotations

import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from skiff.builders.debian.licences import licences_in
from skiff.host import json
from skiff.host.errors import UserError
from skiff.host.files import keep_folder, write_atomic
from skiff.host.run import PIPE, spawn
from skiff.model.packages import Package
from skiff.model.tree import Entry, Kind

_KINDS = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.AREGTYPE: Kind.FILE,
    tarfile.DIRTYPE: Kind.DIR,
    tarfile.SYMTYPE: Kind.LINK,
}
# Documentation that no image carries; licences are read from it first.
_DOCUMENTATION = (
    "usr/share/doc/",
    "usr/share/man/",
    "usr/share/info/",
    "usr/share/lintian/",
    "usr/share/locale/",
)
_COPYRIGHT = re.compile(r"usr/share/doc/[^/]+/copyright")
_FOLDER = re.compile(r"usr/share/doc/[^/]+")


# In the cache. Another form of Index needs another name: an older tool may use the same cache.
FOLDER = "unpacked-2"


class IndexEntry(msgspec.Struct, frozen=True):
    """One path of a package: what ``Entry`` needs besides the bytes."""

    path: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    target: str = ""


class Index(msgspec.Struct, frozen=True):
    """A package's content list."""

    entries: tuple[IndexEntry, ...]
    licences: tuple[str, ...]
    # The package whose copyright file is this one's too; empty when it has its own.
    documented_by: str = ""


class Unpacked(msgspec.Struct, frozen=True):
    """A package in the cache."""

    package: Package
    root: Path
    index: Index

    def items(self) -> list[tuple[str, Entry]]:
        """Path and entry of all it holds."""
        return [
            (
                item.path,
                Entry(
                    kind=item.kind,
                    mode=item.mode,
                    uid=item.uid,
                    gid=item.gid,
                    target=item.target,
                    origin=self.package.name,
                    source=self.root / "files" / item.path if item.kind is Kind.FILE else b"",
                ),
            )
            for item in self.index.entries
        ]


def licences(packages: Sequence[Unpacked]) -> dict[str, tuple[str, ...]]:
    """The licences of each package by its name; of some the copyright file is in another package."""
    own = {item.package.name: item.index.licences for item in packages}
    return {
        item.package.name: item.index.licences or own.get(item.index.documented_by, ()) for item in packages
    }


def unpack_all(
    packages: Sequence[Package], debs: dict[str, Path], cache: Path, done: Callable[[str], None]
) -> list[Unpacked]:
    """Unpack what the cache lacks, two at a time; ``done`` hears each package's name."""

    def one(package: Package) -> Unpacked:
        result = _unpack(package, debs[package.sha256], cache / FOLDER / package.sha256)
        done(package.name)
        return result

    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(one, packages))


def _unpack(package: Package, deb: Path, root: Path) -> Unpacked:
    index_file = root / "index.json"
    if not index_file.exists():
        root.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".unpack-", dir=root.parent))
        try:
            index = _extract(deb, scratch / "files")
            write_atomic(scratch / "index.json", json.encode(index))
            keep_folder(scratch, root)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return Unpacked(package, root, json.decode(index_file.read_bytes(), Index))


def _extract(deb: Path, files: Path) -> Index:
    """Stream the package's data archive: files to disk, everything else into the index."""
    with spawn(["dpkg-deb", "--fsys-tarfile", deb], stdout=PIPE, stderr=PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                index = _place(archive, deb, files)
            # What follows the archive's end mark, so that dpkg-deb can end by itself.
            while process.stdout.read(1 << 16):
                pass
        except tarfile.ReadError:
            index = None
        errors = process.stderr.read().decode(errors="replace").strip()
    if process.returncode != 0 or index is None:
        raise UserError(
            f"{deb}: dpkg-deb could not read it: {errors or 'the archive in it is cut short'}",
            hint="remove the file and build again",
        )
    return index


def _place(archive: tarfile.TarFile, deb: Path, files: Path) -> Index:
    """Write the archive's files to the folder ``files``; its entries."""
    entries: dict[str, IndexEntry] = {}
    licences: set[str] = set()
    documented_by = ""
    for member in archive:
        path = _safe(member.name, deb)
        if not path:
            continue
        if member.isreg() and _COPYRIGHT.fullmatch(path):
            stream = archive.extractfile(member)
            assert stream is not None
            licences |= licences_in(stream.read().decode(errors="replace"))
        if member.issym() and _FOLDER.fullmatch(path):
            documented_by = member.linkname
        if path.startswith(_DOCUMENTATION):
            continue
        if member.islnk():
            first = _safe(member.linkname, deb)
            _copy(files / first, files / path)
            entries[path] = msgspec.structs.replace(entries[first], path=path)
            continue
        kind = _KINDS.get(member.type)
        if kind is None:
            raise UserError(f"{deb.name}: {path}: a package may not carry device nodes")
        if kind is Kind.FILE:
            stream = archive.extractfile(member)
            assert stream is not None
            target = files / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as out:
                shutil.copyfileobj(stream, out, 1 << 20)
        link = member.linkname if member.issym() else ""
        entries[path] = IndexEntry(path, kind, member.mode & 0o7777, member.uid, member.gid, link)
    return Index(tuple(entries.values()), tuple(sorted(licences)), documented_by)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.hardlink_to(source)


def _safe(name: str, deb: Path) -> str:
    path = name.removeprefix("./").strip("/")
    if ".." in path.split("/"):
        raise UserError(f"{deb.name}: path {name} leaves the package")
    return "" if path == "." else path
