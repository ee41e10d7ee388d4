"""Firmware that kernel modules ask for, compared with what a tree holds."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path

from skiff.host.run import require, run
from skiff.model.tree import Tree

# Where the kernel looks, and how a file may be packed (drivers/base/firmware_loader/main.c).
_FOLDER = "usr/lib/firmware/"
_PACKED = ("", ".xz", ".zst")


def missing_firmware(tree: Tree, modules: Mapping[str, Path], optional: Sequence[str]) -> list[str]:
    """One line for each module that asks for firmware, none of which is in the tree.

    A module names the firmware of all the hardware it knows, of every year: some of it there means that
    somebody thought of it. ``optional`` are modules that run without.
    """
    there = [path.removeprefix(_FOLDER) for path in tree if path.startswith(_FOLDER)]
    lines = []
    for module, wanted in sorted(_wanted(modules).items()):
        if module in optional or any(_is_there(name, there) for name in wanted):
            continue
        more = f" and {len(wanted) - 1} more" if len(wanted) > 1 else ""
        lines.append(f"module {module} asks for firmware that is not in the image: {wanted[0]}{more}")
    return lines


def _wanted(modules: Mapping[str, Path]) -> dict[str, list[str]]:
    """Firmware file names by module, as modinfo tells them. They may be globs."""
    if not modules:
        return {}
    require("modinfo")
    names = {str(path): name for name, path in modules.items()}
    wanted: dict[str, list[str]] = {}
    module = ""
    for line in run(["modinfo", *names]).stdout.decode(errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key == "filename":
            module = names[value.strip()]
        elif key == "firmware":
            wanted.setdefault(module, []).append(value.strip())
    return wanted


def _is_there(name: str, there: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(path, name + packed) for path in there for packed in _PACKED)
