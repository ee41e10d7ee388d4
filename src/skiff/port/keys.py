"""By what a node is remembered: one hash over all that its image depends on."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from skiff.host.errors import UserError
from skiff.host.files import digest, file_digest
from skiff.model.port import Action, GitSource, LocalSource, Node
from skiff.port.base import Base
from skiff.port.engine import OURS

# Changes when the same node has to become another image.
_FORM = "1"


def key_of(
    node: Node,
    parents: Mapping[str, str],
    *,
    present: Callable[[Node], str],
    base: Callable[[Node], Base],
    network: str,
) -> str:
    """The key of a node, from those of its parents.

    ``present`` tells the digest or id of an image that is there, ``base`` what a base is made of.
    """
    if node.action is Action.REUSE:
        own: object = present(node)
    elif node.action is Action.SYNTHESISE:
        own = base(node).key
    else:
        needed = [(parent.written, parent.line, parents[parent.node]) for parent in node.parents]
        own = (
            node.text,
            node.target,
            sorted(node.args.items()),
            node.builder,
            network,
            _source(node),
            needed,
        )
    return digest(repr((_FORM, node.action.value, str(node.platform), own)))[:32]


def tag_of(node: Node, key: str) -> str:
    """The name of a node's image in an engine: readable, and one for each content."""
    name = re.sub(
        r"[^a-z0-9._-]+", "-", f"{node.reference.short.partition('@')[0]}-{node.platform.arch}".lower()
    )
    return f"{OURS}:{name.strip('.-')[:80]}-{key}"


def _source(node: Node) -> object:
    source = node.source
    if isinstance(source, GitSource):
        return source.url, source.commit, source.directory
    if isinstance(source, LocalSource):
        return tree_digest(source.path)
    return repr(source)


def tree_digest(folder: Path) -> str:
    """One hash over a folder: names, modes and bytes. A repository's own `.git` does not count.

    Raises UserError for what cannot be read.
    """
    lines: list[str] = []
    try:
        _walk(folder, "", lines)
    except OSError as error:
        raise UserError(
            f"{error.filename or folder}: cannot be read: {error.strerror}",
            hint="the whole folder goes to the builder; `.dockerignore` does not change that it is looked at",
        ) from error
    return digest("\n".join(lines))


def _walk(folder: Path, inside: str, lines: list[str]) -> None:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            if not inside and entry.name == ".git":
                continue
            path = f"{inside}{entry.name}"
            info = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(info.st_mode):
                lines.append(f"{path}/\0{info.st_mode & 0o7777:o}")
                _walk(Path(entry.path), f"{path}/", lines)
            elif stat.S_ISLNK(info.st_mode):
                lines.append(f"{path}\0{Path(entry.path).readlink()}")
            elif stat.S_ISREG(info.st_mode):
                lines.append(f"{path}\0{info.st_mode & 0o7777:o}\0{file_digest(Path(entry.path))}")
