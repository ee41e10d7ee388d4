"""What is left out of a tree: globs that layers name, and libraries that no program loads."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

from skiff.builders.elf import Linker
from skiff.model.arch import Arch
from skiff.model.tree import Kind, Tree


class Globs:
    """Path globs as one pattern: `*` stays within a folder, `**` crosses them.

    A glob that matches a folder matches all below it.
    """

    def __init__(self, globs: Iterable[str]) -> None:
        patterns = [_regex(glob.strip("/")) for glob in globs]
        self._pattern = re.compile("|".join(f"(?:{pattern})" for pattern in patterns)) if patterns else None

    def match(self, path: str) -> bool:
        """Whether any of the globs matches the path or a folder above it."""
        return self._pattern is not None and self._pattern.match(path) is not None


def _regex(glob: str) -> str:
    parts = []
    for piece in re.split(r"(\*\*/?|\*|\?|\[[^]]*\])", glob):
        if piece == "**/":
            parts.append("(?:.*/)?")
        elif piece == "**":
            parts.append(".*")
        elif piece == "*":
            parts.append("[^/]*")
        elif piece == "?":
            parts.append("[^/]")
        elif piece.startswith("["):
            parts.append(fnmatch.translate(piece).removeprefix("(?s:").removesuffix(r")\Z"))
        else:
            parts.append(re.escape(piece))
    return "".join(parts) + r"(?:/.*)?\Z"


def drop(tree: Tree, drop_globs: Iterable[str], keep: Globs) -> None:
    """Remove what ``drop_globs`` match, except what ``keep`` holds."""
    dropped = Globs(drop_globs)
    for path in list(tree):
        if path in tree and dropped.match(path) and not keep.match(path):
            if tree[path].kind is Kind.DIR and any(
                keep.match(name) for name in tree if name.startswith(path + "/")
            ):
                continue
            del tree.entries[path]


def drop_unneeded_libraries(tree: Tree, arch: Arch, keep: Globs) -> None:
    """Remove shared libraries from the loader's folders that no program and no kept file loads."""
    linker = Linker(tree, arch)
    folders = linker.search

    def is_library(path: str) -> bool:
        folder, _, name = path.rpartition("/")
        return folder in folders and re.search(r"\.so(\.|$)", name) is not None

    libraries = {path for path in tree if is_library(path)}
    roots = {path for path, _ in tree.files() if path not in libraries}
    # A library is kept by the name that programs load it by, too, which is a link.
    roots |= {tree.resolve(path) or path for path in libraries if keep.match(path)}
    reached = linker.closure(roots)
    # Links stay when what they lead to stays: the loader looks for the link's name.
    for path in libraries:
        if tree.resolve(path) not in reached and not keep.match(path):
            del tree.entries[path]
