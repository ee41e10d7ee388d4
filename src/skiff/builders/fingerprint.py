"""All that an image depends on, as one hash: the same for the same image."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from functools import cache as once
from pathlib import Path

import msgspec

import skiff
from skiff.builders.debian.base_lock import base_files
from skiff.builders.device_python import device_modules
from skiff.builders.lay import scan
from skiff.host import json
from skiff.host.files import digest, file_digest
from skiff.model.packages import PackageSet
from skiff.model.recipe import FOLDERS, Recipe
from skiff.model.tree import Kind

# Folders of a layer whose links are links on the device too.
_LAID = ("rootfs", "root_overlay", "services")


def of_packages(
    recipe: Recipe, packages: PackageSet, kernel: Sequence[str] = (), without: Sequence[Path] = ()
) -> str:
    """The hash for an image of packages. ``kernel``: what one that is compiled depends on besides."""
    lines = [
        *kernel,
        *(item.sha256 for item in (*packages.packages, *packages.tools)),
        str(packages.epoch),
        *(digest(entry.read()) for _, entry in base_files(packages.arch, packages.suite, packages.bases)),
    ]
    return of_recipe(recipe, lines, without)


def of_recipe(recipe: Recipe, lines: Sequence[str], without: Sequence[Path] = ()) -> str:
    """One hash over recipe, layers' files, this tool, and ``lines``: what the builder's part depends on.

    ``without``: folders that builds write to, which count for nothing where a layer has them in it.
    """
    # Where a layer lies on disk does not matter, what is in it does.
    plain = msgspec.structs.replace(recipe, layers=())
    lines = [skiff.__version__, _tool_digest(), *lines, json.encode(plain).decode(), *recipe.names]
    apart = {path.resolve() for path in without}
    for layer in recipe.layers:
        lines += (f"{layer.name}\0{fact}" for fact in _facts((layer.path.resolve(),), "", layer.name, apart))
    lines += [f"{path}\0{digest(entry.read())}" for path, entry in device_modules(recipe)]
    return digest("\n".join(lines))


def _facts(way: tuple[Path, ...], above: str, origin: str, without: Collection[Path]) -> Iterator[str]:
    """A line for each path in the last folder of ``way``, which lies at ``above`` in its layer.

    ``way``: that folder, and before it those whose links led there.
    """
    for name, entry in scan(way[-1], origin, without):
        path = f"{above}{name}"
        content = file_digest(entry.source) if isinstance(entry.source, Path) else entry.target
        yield f"{path}\0{entry.mode:o}\0{content}"
        if entry.kind is Kind.LINK and _is_followed(path):
            link = way[-1] / name
            if link.is_file():
                yield f"{path}\0{os.access(link, os.X_OK)}\0{file_digest(link)}"
            # A link to where it comes from has nothing that is not there already.
            elif link.is_dir() and not any(folder.is_relative_to(link.resolve()) for folder in way):
                yield from _facts((*way, link.resolve()), f"{path}/", origin, without)


def _is_followed(path: str) -> bool:
    """Whether the builders read what a link at this path of a layer leads to."""
    part, *below = path.split("/")
    return part in FOLDERS and (part not in _LAID or len(below) <= (part == "services"))


@once
def _tool_digest() -> str:
    """Hash of this package's own source: another version of the tool may build another image."""
    folder = Path(skiff.__file__).parent
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".sh", ".txt"))
    return digest("".join(file_digest(path) for path in files if "_layers" not in path.parts))
