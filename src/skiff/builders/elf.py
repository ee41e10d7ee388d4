"""Which shared libraries the programs of a tree load: to drop the others, and to prove none is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

from skiff.host.elf import HEAD, RELOCATABLE, read_head
from skiff.host.errors import UserError
from skiff.model.arch import Arch
from skiff.model.tree import Entry, Kind, Tree


class ElfFacts(msgspec.Struct, frozen=True):
    """What the dynamic loader wants to know of one file."""

    needed: tuple[str, ...]
    runpath: tuple[str, ...]
    interpreter: str
    machine: int


def read_elf(source: Path | bytes) -> ElfFacts | None:
    """The facts of an ELF file; None for anything else (kernel modules and objects included)."""
    if isinstance(source, bytes):
        return None
    with source.open("rb") as file:
        head = read_head(file.read(HEAD))
        if head is None or head.type == RELOCATABLE:
            return None
        try:
            elf = ELFFile(file)
            needed: list[str] = []
            runpath: list[str] = []
            interpreter = ""
            for segment in elf.iter_segments():
                if isinstance(segment, InterpSegment):
                    interpreter = segment.get_interp_name()
                if isinstance(segment, DynamicSegment):
                    tags: list[Any] = list(segment.iter_tags())
                    needed = [tag.needed for tag in tags if tag.entry.d_tag == "DT_NEEDED"]
                    for tag in tags:
                        if tag.entry.d_tag == "DT_RUNPATH":
                            runpath += tag.runpath.split(":")
                        elif tag.entry.d_tag == "DT_RPATH":
                            runpath += tag.rpath.split(":")
            return ElfFacts(tuple(needed), tuple(runpath), interpreter, head.machine)
        except (ELFError, UnicodeDecodeError, KeyError):
            return None


class Linker:
    """Looks libraries up in a tree as the target's dynamic loader would."""

    def __init__(self, tree: Tree, arch: Arch) -> None:
        self.tree = tree
        self.arch = arch
        self.search = (f"usr/lib/{arch.triple}", "usr/lib", "usr/lib64")
        self._facts: dict[Path, ElfFacts | None] = {}

    def facts(self, entry: Entry) -> ElfFacts | None:
        """ELF facts of an entry, read once."""
        if entry.kind is not Kind.FILE or isinstance(entry.source, bytes):
            return None
        if entry.source not in self._facts:
            self._facts[entry.source] = read_elf(entry.source)
        return self._facts[entry.source]

    def find(self, library: str, facts: ElfFacts, user: str) -> str | None:
        """Path of the library that ``user`` would load, links followed; None if there is none."""
        if "/" in library:
            return self.tree.resolve(library)
        origin = "/" + str(PurePosixPath(user).parent)
        runpath = [folder.replace("$ORIGIN", origin).replace("${ORIGIN}", origin) for folder in facts.runpath]
        for folder in (*runpath, *self.search):
            found = self.tree.resolve(f"{folder}/{library}")
            if found is not None:
                return found
        return None

    def wanted(self, path: str) -> Iterator[tuple[str, str | None]]:
        """For one file of the tree: each library (and loader) it names, and where that is."""
        facts = self.facts(self.tree[path])
        if facts is None:
            return
        if facts.interpreter:
            yield facts.interpreter, self.tree.resolve(facts.interpreter)
        for library in facts.needed:
            yield library, self.find(library, facts, path)

    def closure(self, start: set[str]) -> set[str]:
        """The files of ``start`` with every library they load, directly or not."""
        reached = set(start)
        todo = list(start)
        while todo:
            for _, found in self.wanted(todo.pop()):
                if found is not None and found not in reached:
                    reached.add(found)
                    todo.append(found)
        return reached

    def check(self) -> None:
        """Raise UserError naming every library that a file needs and the tree lacks, and wrong CPUs."""
        problems = []
        for path, entry in self.tree.files():
            facts = self.facts(entry)
            if facts is None:
                continue
            if facts.machine != self.arch.elf_machine:
                problems.append(f"/{path} ({entry.origin}) is not a program for {self.arch.value}")
                continue
            problems += [
                f"/{path} ({entry.origin}) needs {library}"
                for library, found in self.wanted(path)
                if found is None
            ]
        if problems:
            raise UserError(
                "the image would hold programs that cannot start:\n  " + "\n  ".join(problems),
                hint="name what is missing in a layer's `debian.packages`, `debian.keep` or `trim.keep`",
            )
