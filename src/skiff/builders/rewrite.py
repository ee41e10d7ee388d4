"""Programs that are changed on their way into the image; the cache keeps what takes their place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from skiff.builders.trim import Globs
from skiff.host.errors import UserError
from skiff.host.files import file_digest, write_atomic
from skiff.model.tree import Tree


class CannotRewrite(Exception):
    """Why there is nothing to change in a file, or it cannot be done."""


def rewrite(
    tree: Tree, key: str, globs: Iterable[str], change: Callable[[bytes], bytes], cache: Path
) -> None:
    """Put in the place of the files that the globs match what ``change`` makes of them.

    ``key`` of layer.toml's ``trim`` has the globs, and a folder of the cache is named after it.
    Raises UserError for a file of which ``change`` raises CannotRewrite.
    """
    wanted = Globs(globs)
    for path, entry in list(tree.files()):
        if not wanted.match(path) or isinstance(entry.source, bytes):
            continue
        made = cache / f"without-{key}" / file_digest(entry.source)
        if not made.exists():
            try:
                data = change(entry.source.read_bytes())
            except CannotRewrite as why:
                raise UserError(
                    f"trim.{key}: /{path} ({entry.origin}): {why}",
                    hint=f"take it out of `trim.{key}`",
                ) from None
            made.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(made, data)
        tree.entries[path] = msgspec.structs.replace(entry, source=made)
