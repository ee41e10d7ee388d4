"""The folder of a Dockerfile, its context: on this machine, or in a repository at a commit."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

from skiff.port.git import Item, Repository
from skiff.port.journal import Journal

# Files of a folder that are looked at; one with more is one of sources.
MOST = 3000
# A program larger than this is not looked into while planning.
_LARGEST = 256 << 20


class File(NamedTuple):
    """A file of the context: its path there, whether it may be run, and its size."""

    path: str
    executable: bool
    size: int


class Tree(Protocol):
    """A folder to build from."""

    def read(self, path: str) -> bytes | None:
        """A file's content; None if there is none."""

    def files(self, path: str) -> Iterable[File]:
        """The file at a path, or all files below it."""


class LocalTree:
    """A folder of this machine. What it is asked and answers is told to a journal."""

    def __init__(self, root: Path, journal: Journal | None = None) -> None:
        self.root = root
        self._journal = journal or Journal()

    def read(self, path: str) -> bytes | None:
        """A file's content; None if there is none."""
        try:
            data = (self.root / path).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            data = None
        self._journal.note(("read", str(self.root), path), data)
        return data

    def files(self, path: str) -> tuple[File, ...]:
        """The file at a path, or all files below it. Links are not followed."""
        found = tuple(self._files(path))
        self._journal.note(("files", str(self.root), path), found)
        return found

    def _files(self, path: str) -> Iterator[File]:
        start = self.root / path
        for one in islice(_walk(start), MOST) if start.is_dir() else [start]:
            try:
                found = one.lstat()
            except OSError:
                continue
            if stat.S_ISREG(found.st_mode):
                name = one.relative_to(self.root).as_posix()
                yield File(name, bool(found.st_mode & 0o111), found.st_size)


def _walk(start: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(start):
        names[:] = sorted(name for name in names if name != ".git")
        yield from (Path(folder, name) for name in sorted(files))


class GitTree:
    """A folder of a repository at a commit."""

    def __init__(self, repository: Repository, commit: str, directory: str) -> None:
        self.repository = repository
        self.commit = commit
        self.directory = directory

    def read(self, path: str) -> bytes | None:
        """A file's content; None if there is none."""
        return self.repository.read(self.commit, f"{self.directory}/{path}")

    def files(self, path: str) -> Iterator[File]:
        """The file at a path, or all files below it."""
        parent, _, name = path.strip("/").rpartition("/")
        if name in ("", "."):
            yield from self._below(parent)
            return
        for item in self.repository.items(self.commit, f"{self.directory}/{parent}"):
            if item.name == name:
                yield from self._item(item, f"{parent}/{name}" if parent else name)

    def _below(self, path: str) -> Iterator[File]:
        for item in self.repository.items(self.commit, f"{self.directory}/{path}"):
            yield from self._item(item, f"{path}/{item.name}" if path else item.name)

    def _item(self, item: Item, path: str) -> Iterator[File]:
        if item.mode == "40000":
            yield from self._below(path)
        elif item.mode.startswith("100"):
            yield File(path, item.mode == "100755", self.repository.size(item.object))


def head(tree: Tree, file: File) -> bytes:
    """The content of a file that may be a program; nothing of one that is too small or too large for it."""
    return (tree.read(file.path) or b"") if 52 <= file.size <= _LARGEST else b""
