"""Programs that are changed on their way into the image; the cache keeps what takes their place."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from skiff.builders.trim import Globs
from skiff.host.errors import UserError
from skiff.host.files import digest, file_digest, write_atomic
from skiff.model.tree import Tree


class CannotRewrite(Exception):
    """Why there is nothing to change in a file, or it cannot be done."""


class Elf(msgspec.Struct, frozen=True):
    """An ELF file to change, taken apart."""

    file: ELFFile
    # By name. Of pyelftools, which has no types.
    sections: dict[str, Any]
    # As `struct` has it: "<" or ">".
    order: str
    # Whether it is of the 64-bit kind.
    wide: bool


def parsed(program: bytes) -> Elf:
    """The parts of an ELF file. Raises CannotRewrite for what is none."""
    try:
        file = ELFFile(BytesIO(program))
        sections = {section.name: section for section in file.iter_sections()}
    except ELFError:
        raise CannotRewrite("it is no ELF file") from None
    return Elf(file, sections, "<" if file.little_endian else ">", file.elfclass == 64)


def rewrite(
    tree: Tree, key: str, globs: Iterable[str], change: Callable[[bytes], bytes], cache: Path
) -> None:
    """Put in the place of the files that the globs match what ``change`` makes of them.

    ``key`` of layer.toml's ``trim`` has the globs, and a folder of the cache is named after it.
    Raises UserError for a file of which ``change`` raises CannotRewrite.
    """
    wanted = Globs(globs)
    # What an older way of changing them made may have its mistakes.
    way = "".join(Path(file).read_text() for file in (__file__, inspect.getfile(change)))
    for path, entry in list(tree.files()):
        if not wanted.match(path) or isinstance(entry.source, bytes):
            continue
        made = cache / f"without-{key}" / digest(f"{file_digest(entry.source)}\n{way}")
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
