"""Skiff's own Python for the device, laid into the tree as layers ask for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from skiff.host.dirs import device_python
from skiff.host.errors import UserError
from skiff.model.recipe import Recipe
from skiff.model.tree import Entry, Kind

# Folder on the device that the programs there name in PYTHONPATH.
TARGET = "usr/lib/skiff/python/skiff_device"
# What every part builds on.
SHARED = "common"


def device_modules(recipe: Recipe, folder: Path | None = None) -> Iterator[tuple[str, Entry]]:
    """Path in the tree and entry of each module: what all parts share, and the parts named.

    Raises UserError for a part that there is none of.
    """
    if not recipe.device_python:
        return
    source = folder or device_python()
    yield f"{TARGET}/__init__.py", _entry(source / "__init__.py")
    for name in (SHARED, *sorted(recipe.device_python)):
        part = source / name
        if not (part / "__init__.py").is_file():
            layer = recipe.origins.get(f"device_python[{name}]", "?")
            there = ", ".join(
                sorted(
                    file.parent.name for file in source.glob("*/__init__.py") if file.parent.name != SHARED
                )
            )
            raise UserError(
                f"layer {layer}: device.python: there is no Python for the device called {name!r}",
                hint=f"there is: {there or 'none'}",
            )
        for file in sorted(part.rglob("*.py")):
            relative = file.relative_to(source)
            if "tests" not in relative.parts:
                yield f"{TARGET}/{relative.as_posix()}", _entry(file)


def _entry(file: Path) -> Entry:
    return Entry(Kind.FILE, 0o644, "skiff", source=file)
