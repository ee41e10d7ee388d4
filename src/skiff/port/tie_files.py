"""Programs of another CPU that a Dockerfile copies out of its folder, alone or within a packed tree."""

from __future__ import annotations

import fnmatch
import io
import lzma
import posixpath
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from skiff.host.elf import HEAD, RELOCATABLE, read_head
from skiff.model.arch import Arch
from skiff.model.port import Platform
from skiff.port.dockerfile import Instruction
from skiff.port.tie_script import Tie
from skiff.port.trees import MOST, File, Tree, head

_SHOWN = 3
_PACKED = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")


class _Ignore(NamedTuple):
    """A line of .dockerignore: what it finds is taken away, or brought back."""

    back: bool
    # Its pattern, part by part.
    parts: list[str]


def file_ties(made: Sequence[Instruction], tree: Tree, dockerfile: str, platform: Platform) -> Iterator[Tie]:
    """A tie for each COPY or ADD that brings programs which do not run on the platform."""
    arch = platform.debian
    if arch is None:
        return
    ignored = _ignored(tree, dockerfile)
    for one in made:
        if one.keyword not in ("COPY", "ADD") or one.flag("from") is not None:
            continue
        wrong = [found for source in one.words[:-1] for found in _wrong(one, source, tree, arch, ignored)]
        if wrong:
            shown = ", ".join(f"{path} ({cpu})" for path, cpu in wrong[:_SHOWN])
            shown += f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
            why = f"programs or libraries that do not run on {platform}; they must be built or fetched for it"
            yield Tie("binary", one.offsets[0], f"{one.keyword} brings {shown}", why)


def _ignored(tree: Tree, dockerfile: str) -> list[_Ignore]:
    """The lines of .dockerignore, or of the Dockerfile's own list beside it."""
    data = tree.read(f"{dockerfile}.dockerignore")
    data = tree.read(".dockerignore") if data is None else data
    lines = (data or b"").decode(errors="replace").splitlines()
    words = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return [_Ignore(word.startswith("!"), _parts(word.removeprefix("!"))) for word in words]


def _parts(pattern: str) -> list[str]:
    # Docker's classes of characters are Go's.
    return posixpath.normpath(pattern.strip(" /")).replace("[^", "[!").split("/")


def _is_ignored(path: str, ignored: Sequence[_Ignore]) -> bool:
    """Whether a file is not sent to the builder: the last line that finds it, or its folder, decides."""
    found = [line.back for line in ignored if _finds(line.parts, path.split("/"))]
    return bool(found) and not found[-1]


def _finds(pattern: Sequence[str], path: Sequence[str]) -> bool:
    # Parts of the pattern that may come next; `**` stands for any number of folders.
    reached = {0}
    for part in path:
        for at in range(len(pattern)):
            if at in reached and pattern[at] == "**":
                reached.add(at + 1)
        reached = {
            at if pattern[at] == "**" else at + 1
            for at in reached
            if at < len(pattern) and fnmatch.fnmatchcase(part, pattern[at])
        }
        if len(pattern) in reached or (pattern[-1] == "**" and len(pattern) - 1 in reached):
            return True
    return False


def _wrong(
    one: Instruction, source: str, tree: Tree, arch: Arch, ignored: Sequence[_Ignore]
) -> Iterator[tuple[str, str]]:
    if "$" in source or "://" in source or source.startswith(("<<", "git@")):
        return
    for file in _files(source, tree, ignored):
        if one.keyword == "ADD" and file.path.endswith(_PACKED):
            cpu = _packed_for(tree.read(file.path) or b"", arch)
            if cpu:
                yield file.path, cpu
        elif _may_be_program(file):
            found = read_head(head(tree, file)[:HEAD])
            if found is not None and found.type != RELOCATABLE and not found.runs_on(arch):
                yield file.path, found.describe()


def _files(source: str, tree: Tree, ignored: Sequence[_Ignore]) -> Iterator[File]:
    path = "/".join(part for part in source.strip("\"'").split("/") if part not in ("", ".", ".."))
    pattern = any(char in path for char in "*?[")
    start = path.rpartition("/")[0] if pattern else path
    while pattern and any(char in start for char in "*?["):
        start = start.rpartition("/")[0]
    for count, file in enumerate(tree.files(start)):
        if count == MOST:
            return
        parts = file.path.split("/")
        within = ["/".join(parts[: end + 1]) for end in range(len(parts))]
        if pattern and not any(fnmatch.fnmatch(one, path) for one in within):
            continue
        if not _is_ignored(file.path, ignored):
            yield file


def _may_be_program(file: File) -> bool:
    name = file.path.rpartition("/")[2]
    return file.executable or ".so" in name or "." not in name


def _packed_for(data: bytes, arch: Arch) -> str:
    """The CPU of the first program in a packed tree, if it is another one; empty if not."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r|*") as packed:
            for member in packed:
                content = packed.extractfile(member) if member.isreg() and member.size >= HEAD else None
                found = read_head(content.read(HEAD)) if content is not None else None
                if found is not None and found.type != RELOCATABLE:
                    return "" if found.runs_on(arch) else found.describe()
    except (tarfile.TarError, lzma.LZMAError, zlib.error, OSError, EOFError, ValueError):
        return ""
    return ""
