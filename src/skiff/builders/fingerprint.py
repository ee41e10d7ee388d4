"""All that an image depends on, as one hash: the same for the same image."""

from __future__ import annotations

from collections.abc import Sequence
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
from skiff.model.recipe import Recipe


def of_packages(recipe: Recipe, packages: PackageSet, kernel: Sequence[str] = ()) -> str:
    """The hash for an image of packages. ``kernel``: what one that is compiled depends on besides."""
    lines = [
        *kernel,
        *(item.sha256 for item in packages.packages),
        str(packages.epoch),
        *(digest(entry.read()) for _, entry in base_files(packages.arch, packages.suite, packages.bases)),
    ]
    return of_recipe(recipe, lines)


def of_recipe(recipe: Recipe, lines: Sequence[str]) -> str:
    """One hash over recipe, layers' files, this tool, and ``lines``: what the builder's part depends on."""
    # Where a layer lies on disk does not matter, what is in it does.
    plain = msgspec.structs.replace(recipe, layers=())
    lines = [skiff.__version__, _tool_digest(), *lines, json.encode(plain).decode(), *recipe.names]
    for layer in recipe.layers:
        for path, entry in scan(layer.path, layer.name):
            content = file_digest(entry.source) if isinstance(entry.source, Path) else entry.target
            lines.append(f"{layer.name}\0{path}\0{entry.mode:o}\0{content}")
    lines += [f"{path}\0{digest(entry.read())}" for path, entry in device_modules(recipe)]
    return digest("\n".join(lines))


@once
def _tool_digest() -> str:
    """Hash of this package's own source: another version of the tool may build another image."""
    folder = Path(skiff.__file__).parent
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".sh", ".txt"))
    return digest("".join(file_digest(path) for path in files if "_layers" not in path.parts))
