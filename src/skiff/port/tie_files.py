"""Programs of another CPU that a Dockerfile copies out of its folder, alone or within a packed tree."""

from __future__ import annotations

import fnmatch
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator, Sequence

from skiff.host.elf import HEAD, RELOCATABLE, read_head
from skiff.model.arch import Arch
from skiff.model.port import Platform
from skiff.port.dockerfile import Instruction
from skiff.port.tie_script import Tie
from skiff.port.trees import MOST, File, Tree, head

_SHOWN = 3
_PACKED = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")


def file_ties(made: Sequence[Instruction], tree: Tree, platform: Platform) -> Iterator[Tie]:
    """A tie for each COPY or ADD that brings programs which do not run on the platform."""
    arch = platform.debian
    if arch is None:
        return
    ignored = _ignored(tree)
    for one in made:
        if one.keyword not in ("COPY", "ADD") or one.flag("from") is not None:
            continue
        wrong = [found for source in one.words[:-1] for found in _wrong(one, source, tree, arch, ignored)]
        if wrong:
            shown = ", ".join(f"{path} ({cpu})" for path, cpu in wrong[:_SHOWN])
            shown += f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
            why = f"programs or libraries that do not run on {platform}; they must be built or fetched for it"
            yield Tie("binary", one.offsets[0], f"{one.keyword} brings {shown}", why)


def _ignored(tree: Tree) -> list[str]:
    """Patterns of .dockerignore, those that take files away."""
    lines = (tree.read(".dockerignore") or b"").decode(errors="replace").splitlines()
    words = [line.strip().strip("/") for line in lines]
    return [word for word in words if word and not word.startswith(("#", "!"))]


def _wrong(
    one: Instruction, source: str, tree: Tree, arch: Arch, ignored: Sequence[str]
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


def _files(source: str, tree: Tree, ignored: Sequence[str]) -> Iterator[File]:
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
        if not any(fnmatch.fnmatch(one, ignore) for one in within for ignore in ignored):
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
