"""A root file system as a value: paths and what stands there, without needing root to hold owners."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import msgspec


class Kind(enum.Enum):
    """What an entry is."""

    FILE = "file"
    DIR = "dir"
    LINK = "link"
    CHAR = "char"


class Entry(msgspec.Struct, frozen=True):
    """One path of the tree. ``source`` is where a file's bytes are; ``origin`` who brought it."""

    kind: Kind
    mode: int
    origin: str
    uid: int = 0
    gid: int = 0
    source: Path | bytes = b""
    target: str = ""
    device: tuple[int, int] = (0, 0)

    @property
    def size(self) -> int:
        """Bytes of a file's content; 0 for anything else."""
        if self.kind is not Kind.FILE:
            return 0
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size

    def read(self) -> bytes:
        """A file's content."""
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()


class Tree:
    """Entries by path (relative, no leading slash). Symbolic links to folders are followed on add."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}

    def __contains__(self, path: str) -> bool:
        return path in self.entries

    def __getitem__(self, path: str) -> Entry:
        return self.entries[path]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.entries))

    def canonical(self, path: str) -> str:
        """The path with links in its folders resolved inside the tree (`bin/sh` → `usr/bin/sh`)."""
        done: list[str] = []
        todo = [part for part in path.split("/") if part not in ("", ".")]
        hops = 0
        while todo:
            part = todo.pop(0)
            if part == "..":
                if done:
                    done.pop()
                continue
            here = "/".join([*done, part])
            entry = self.entries.get(here)
            if todo and entry is not None and entry.kind is Kind.LINK and hops < 40:
                hops += 1
                target = entry.target
                if target.startswith("/"):
                    done = []
                todo = [p for p in target.split("/") if p not in ("", ".")] + todo
                continue
            done.append(part)
        return "/".join(done)

    def resolve(self, path: str) -> str | None:
        """Follow every link, the last one too; None when nothing stands there."""
        for _ in range(40):
            path = self.canonical(path)
            entry = self.entries.get(path)
            if entry is None:
                return None
            if entry.kind is not Kind.LINK:
                return path
            base = "" if entry.target.startswith("/") else str(PurePosixPath(path).parent)
            path = f"{base}/{entry.target}"
        return None

    def add(self, path: str, entry: Entry) -> None:
        """Put an entry at a path, with the folders above it; what stood there gives way.

        A folder laid over a link to a folder keeps the link (`/bin` in a usr-merged tree).
        """
        path = self.canonical(path)
        if not path:
            return
        for parent in list(PurePosixPath(path).parents)[:-1]:
            if str(parent) not in self.entries:
                self.entries[str(parent)] = Entry(Kind.DIR, 0o755, entry.origin)
        old = self.entries.get(path)
        if (
            entry.kind is Kind.DIR
            and old is not None
            and old.kind is Kind.LINK
            and self.resolve(path) is not None
        ):
            return
        self.entries[path] = entry

    def remove(self, path: str) -> None:
        """Take out a path and everything below it; nothing happens when it is not there."""
        self.entries.pop(path, None)
        below = path + "/"
        for name in [name for name in self.entries if name.startswith(below)]:
            del self.entries[name]

    def files(self) -> Iterator[tuple[str, Entry]]:
        """Regular files, sorted by path."""
        return ((path, self.entries[path]) for path in self if self.entries[path].kind is Kind.FILE)
