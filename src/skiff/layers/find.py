"""Where layers lie: the built-in ones, folders of the user's own, single paths, and overrides."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from skiff.host.dirs import builtin_layers
from skiff.host.errors import UserError
from skiff.host.files import at_home, shown
from skiff.layers import skiffos
from skiff.model.recipe import LayerRef

FILE = "layer.toml"

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*(/[A-Za-z0-9][\w.+-]*)?")


class Search(msgspec.Struct, frozen=True):
    """Where names are looked up: the user's folders first, so that they can replace a built-in layer."""

    builtin: Path
    folders: tuple[Path, ...] = ()

    @property
    def all(self) -> tuple[Path, ...]:
        """Every folder, in the order of lookup."""
        return (*self.folders, self.builtin)


def search_path(folders: Iterable[Path] = ()) -> Search:
    """Where to look: ``folders``, then those of `SKIFF_EXTRA_CONFIGS_PATH`, then the built-in layers.

    Raises UserError for a folder that is not there.
    """
    extra = os.environ.get("SKIFF_EXTRA_CONFIGS_PATH", "")
    named = [at_home(part) for part in extra.split(":") if part]
    for folder in named:
        if not folder.is_dir():
            raise UserError(
                f"SKIFF_EXTRA_CONFIGS_PATH: {folder}: no such folder", hint="name folders that hold layers"
            )
    every = [*(Path(folder) for folder in folders), *named]
    return Search(builtin=builtin_layers(), folders=tuple(dict.fromkeys(path.absolute() for path in every)))


def available(search: Search) -> dict[str, Path]:
    """Every layer that can be asked for by name, sorted, with its folder."""
    found: dict[str, Path] = {}
    for root in reversed(search.all):
        if root != search.builtin:
            found.update(
                (f"{path.parent.name}/{path.name}", path)
                for path in root.glob("*/*/")
                if skiffos.is_package(path)
            )
        for file in [*root.glob(f"*/{FILE}"), *root.glob(f"*/*/{FILE}")]:
            found[file.parent.relative_to(root).as_posix()] = file.parent
    return dict(sorted(found.items()))


def is_path(name: str) -> bool:
    """Whether a word means a folder (`./mine`, `../mine`, `/srv/mine`, `~/mine`) rather than a name."""
    return name.startswith(("/", "./", "../", "~")) or name in (".", "..")


def find(name: str, search: Search, *, base: Path | None = None, wanted_by: str = "") -> LayerRef:
    """The layer of that name, or at that path (relative ones: below ``base``, else the current folder).

    ``wanted_by`` begins the message when it is another layer that asks for it. Raises UserError.
    """
    if is_path(name):
        return _at_path((base or Path.cwd()) / at_home(name), wanted_by)
    if _NAME.fullmatch(name):
        for path in (skiffos.from_environment(name), *(root / name for root in search.all)):
            if path is None:
                continue
            if (path / FILE).is_file():
                return LayerRef(name=name, path=path)
            if not path.is_relative_to(search.builtin) and skiffos.is_package(path):
                return LayerRef(name=name, path=path, skiffos=True)
        for path in (root / name for root in search.folders):
            if path.is_dir():
                raise _no_layer(path, wanted_by)
    prefix = f"{wanted_by}: " if wanted_by else ""
    raise UserError(f"{prefix}unknown layer {name!r}", hint=_nearest(name, search))


def _at_path(path: Path, wanted_by: str) -> LayerRef:
    path = Path(os.path.normpath(path))
    if skiffos.is_certainly_package(path):
        return LayerRef(name="/".join(path.parts[-2:]).lstrip("/"), path=path, skiffos=True)
    if not (path / FILE).is_file():
        raise _no_layer(path, wanted_by)
    # Named as if it lay in a folder of layers: <namespace>/<name>.
    return LayerRef(name="/".join(path.parts[-2:]).lstrip("/"), path=path)


def _no_layer(path: Path, wanted_by: str) -> UserError:
    prefix = f"{wanted_by}: " if wanted_by else ""
    what = f"no {FILE} in this folder" if path.is_dir() else "no such folder"
    return UserError(f"{prefix}layer {shown(path)}: {what}", hint=f"a layer is a folder with a {FILE} in it")


def _nearest(name: str, search: Search) -> str:
    found = available(search)
    space, _, last = name.lower().rpartition("/")
    # Half of the name, or another namespace: `qemu`, `odroid`, `apps/docker`.
    near = [other for other in found if last and last in other.split("/")]
    if len(near) > 1:
        near = [other for other in near if _facts(found[other])[1]] or near
    if not near and last:
        # A layer is for several boards, and named after one: `odroid/hc2` is among those of `odroid/xu`.
        word = re.compile(rf"(?<![\w+]){re.escape(last)}(?![\w+])", re.IGNORECASE)
        near = [
            other
            for other, path in found.items()
            if other.startswith(f"{space}/" if space else "") and word.search(_facts(path)[0])
        ]
    near = near or difflib.get_close_matches(name, found, n=3, cutoff=0.5)
    asked = " or ".join(part for part in (", ".join(near[:-1]), *near[-1:]) if part)
    return (f"did you mean {asked}? " if asked else "") + "`skiff layers --all` lists what there is"


def _facts(folder: Path) -> tuple[str, bool]:
    """What a layer says of itself, and whether it is listed; nothing is said of one with a mistake in it."""
    try:
        data = tomllib.loads((folder / FILE).read_text())
    except (OSError, ValueError):
        return "", True
    return str(data.get("description", "")), bool(data.get("listed", True))


def override_folders(project: Path, workspace: str) -> tuple[LayerRef, ...]:
    """The folders `overrides` and `overrides/workspaces/<workspace>` of a project that are there."""
    names: Sequence[str] = ("overrides", f"overrides/workspaces/{workspace}")
    return tuple(
        LayerRef(name=name, path=project / name, skiffos=skiffos.is_package(project / name))
        for name in names
        if (project / name).is_dir()
    )
