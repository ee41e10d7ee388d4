"""SkiffOS's config packages as layers: what their folders say, and in which order a checkout takes them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from skiff.host.errors import UserError
from skiff.host.files import at_home
from skiff.model.arch import Arch
from skiff.model.layer import LayerFile
from skiff.model.recipe import LayerRef, Recipe, SkiffosTree

# A folder with any of these, and without layer.toml, is a config package.
PARTS = (
    "metadata",
    "buildroot",
    "kernel",
    "busybox",
    "uboot",
    "root_overlay",
    "users",
    "hooks",
    "cflags",
    "extensions",
    "buildroot_ext",
    "buildroot_patches",
    "kernel_patches",
    "uboot_patches",
)
# Names as SkiffOS takes them.
_NAME = re.compile(r"[A-Za-z0-9]{1,100}/[A-Za-z0-9_]+")
_WORDS = re.compile(r"[^,\s]+")


def is_package(path: Path) -> bool:
    """Whether a folder is a config package of SkiffOS."""
    return not (path / "layer.toml").exists() and any((path / part).is_dir() for part in PARTS)


def is_certainly_package(path: Path) -> bool:
    """The same of a folder that anybody may have named: many a folder has a `kernel`, `/etc` for one."""
    return is_package(path) and any((path / part).is_dir() for part in ("metadata", "buildroot"))


def variable(name: str) -> str:
    """The variable that names another folder for a package: `odroid/xu` → SKIFF_CONFIG_PATH_ODROID_XU."""
    return f"SKIFF_CONFIG_PATH_{name.upper().replace('/', '_')}"


def from_environment(name: str) -> Path | None:
    """The folder that the environment names for a package. Raises UserError when there is none."""
    value = os.environ.get(variable(name), "") if _NAME.fullmatch(name) else ""
    if not value:
        return None
    path = at_home(value).absolute()
    if not path.is_dir():
        raise UserError(
            f"{variable(name)}: {path}: no such folder", hint="name a package's folder, or unset it"
        )
    return path


def file_of(ref: LayerRef) -> LayerFile:
    """A package's metadata as a layer.toml would say it. Raises UserError for a wrong dependency."""
    description = _text(ref.path / "metadata/description").strip().splitlines()
    return LayerFile(
        description=description[0] if description else f"SkiffOS package {ref.name}",
        requires=tuple(dependencies(ref.path)),
        listed=not (ref.path / "metadata/unlisted").exists(),
    )


def dependencies(path: Path) -> list[str]:
    """Names of the packages that a package wants beside it; commas and blanks separate them."""
    file = path / "metadata/dependencies"
    names = _WORDS.findall(_text(file))
    for name in names:
        if not _NAME.fullmatch(name):
            raise UserError(f"{file}: {name!r}: not a package's name", hint="write category/name")
    return names


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def checkout_recipe(root: Path, names: Sequence[str], extra: Sequence[Path], workspace: str) -> Recipe:
    """What a checkout of SkiffOS makes of these names: its base, the packages, its overrides, its end.

    ``extra``: further folders of packages, looked into first. Raises UserError for an unknown package.
    """
    root = root.absolute()
    if not (root / "configs-base/pre").is_dir() or not (root / "configs").is_dir():
        raise UserError(f"{root}: no checkout of SkiffOS", hint="it has the folders configs and configs-base")
    folders = [*extra, root / "configs"]
    chosen = _chain(names, folders)
    layers = [LayerRef(name, path, skiffos=True) for name, path in chosen.items()]
    around = {
        "configs-base/pre": root / "configs-base/pre",
        "overrides": root / "overrides",
        f"overrides/workspaces/{workspace}": root / "overrides/workspaces" / workspace,
        "configs-base/post": root / "configs-base/post",
    }
    first, *last = (LayerRef(name, path, skiffos=True) for name, path in around.items())
    return Recipe(
        # Kconfig says which CPU it is; nothing of ours is laid over the result.
        arch=Arch.AMD64,
        layers=(first, *layers, *last),
        builder="buildroot",
        skiffos=SkiffosTree(root, tuple(_packages(folders).items()), workspace),
    )


def _packages(folders: Sequence[Path]) -> dict[str, Path]:
    """All packages by name; the first folder that has one counts, and the environment before all."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*/*/")):
            name = f"{path.parent.name}/{path.name}"
            if re.fullmatch(r"[A-Za-z0-9_]+/[A-Za-z0-9_]+", name):
                found.setdefault(name, from_environment(name) or path)
    return found


def _chain(names: Sequence[str], folders: Sequence[Path]) -> dict[str, Path]:
    """Packages in SkiffOS's order: passes over the list, each adding what a package wants before it.

    What is in the list already keeps its place, even behind the one that wants it.
    """
    known = _packages(folders)
    chain = list(names)
    while True:
        after: list[str] = []
        grown = False
        for name in chain:
            if name in after:
                continue
            path = known.get(name) or from_environment(name)
            if path is None:
                raise UserError(
                    f"SkiffOS has no package {name!r} in {', '.join(str(folder) for folder in folders)}",
                    hint=f"{variable(name)} can name its folder",
                )
            known[name] = path
            for wanted in dependencies(path):
                if wanted not in chain:
                    after.append(wanted)
                    grown = True
            after.append(name)
        chain = after
        if not grown:
            return {name: known[name] for name in dict.fromkeys(chain)}
