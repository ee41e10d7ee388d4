"""The folders that a layer may have: one whose name is misspelt would be passed over without a word."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

from skiff.host.errors import UserError
from skiff.host.files import shown
from skiff.model.arch import Arch
from skiff.model.layer import LayerFile
from skiff.model.recipe import FOLDERS, SETTINGS

HOOK = "generate"
_SUFFIX = ".config"


def check_parts(folder: Path, file: LayerFile) -> None:
    """Raise UserError for what nothing would read although its name says that it should be.

    What is like no part is the layer's own: documents, sources that its layer.toml names, further layers.
    """
    for path, meant in _misspelt(folder, file):
        raise UserError(
            f"{shown(path)}: no part of a layer, nothing reads it",
            hint=f"did you mean {meant}? What is meant for nobody needs a name less like it",
        )


def _misspelt(folder: Path, file: LayerFile) -> Iterator[tuple[Path, str]]:
    own = _named(file)
    for path in _entries(folder):
        if path.is_dir() and path.name not in own and not (path / "layer.toml").exists():
            for meant in _near(path.name, FOLDERS, 0.8):
                yield path, f"{meant}/"
    for path in _entries(folder / "hooks"):
        for meant in _near(path.name, (HOOK,), 0.7):
            yield path, f"hooks/{meant}"
    for kind in SETTINGS:
        for path in _entries(folder / kind):
            yield from _misspelt_setting(path, kind)
    for path in _entries(folder / "uboot"):
        yield from _misspelt_setting(path, "uboot")


def _misspelt_setting(path: Path, kind: str) -> Iterator[tuple[Path, str]]:
    if path.is_file():
        for suffix in _near(path.suffix, (_SUFFIX,), 0.7):
            yield path, f"{kind}/{path.stem}{suffix}"
    elif kind in SETTINGS and any(path.glob(f"*{_SUFFIX}")):
        cpus = [arch.value for arch in Arch.bootable()]
        if path.name not in cpus:
            meant = _near(path.name, cpus, 0.6) or cpus
            yield path, " or ".join(f"{kind}/{cpu}/" for cpu in meant)


def _named(file: LayerFile) -> set[str]:
    """Folders of the layer that its layer.toml names."""
    files = [*(piece.file for piece in file.disk.raw), *(one.file for one in file.disk.files)]
    sources = [source.folder for source in file.buildroot.source.values()]
    # A source may be the layer itself, `.`, which has no first part.
    return {part for name in (*files, *sources) for part in Path(name).parts[:1]}


def _near(name: str, known: tuple[str, ...] | list[str], cutoff: float) -> list[str]:
    """The one that a name is for, when it is none of them itself."""
    return [] if name in known else difflib.get_close_matches(name.lower(), known, n=1, cutoff=cutoff)


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
