"""A config package of SkiffOS written anew as a layer: what was kept, what translated, what left."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec

from skiff.host.errors import UserError
from skiff.host.files import swap_folder, write_atomic
from skiff.layers import skiffos
from skiff.model.recipe import LayerRef


class PartReport(msgspec.Struct, frozen=True):
    """What became of one part of a package."""

    name: str
    # kept, translated or left.
    fate: str
    note: str


# Fragments: the same lines, under the name that a layer's files have.
_FRAGMENTS = ("buildroot", "kernel", "busybox", "uboot")
# Folders that mean the same in a layer.
_SAME = {
    "buildroot_ext": "an external tree of Buildroot",
    "buildroot_patches": "patches of Buildroot's packages",
    "kernel_patches": "patches of the kernel",
    "uboot_patches": "patches of U-Boot",
}
_LEFT = {
    "extensions": "its commands are SkiffOS's own: `skiff cmd` runs them from the package itself",
    "hooks": "it works on SkiffOS's tree; rootfs/, services/ and hooks/generate take its place",
    "users": "write them as [[tree.users]], with a number of their own",
    "cflags": "write them as BR2_TARGET_OPTIMIZATION in buildroot/",
}
# Folders of a running SkiffOS that a Skiff image has no use for.
_SYSTEMD = ("etc/systemd", "usr/lib/systemd", "lib/systemd")


def import_package(folder: Path, target: Path) -> tuple[Path, list[PartReport]]:
    """Write the layer ``target/<category>/<name>``, and tell of every part of the package.

    Raises UserError when the folder is no package, or the layer is there already.
    """
    if not skiffos.is_package(folder):
        raise UserError(
            f"{folder}: no config package of SkiffOS", hint="it has metadata/, buildroot/ or the like"
        )
    name = "/".join(folder.parts[-2:])
    made = target / name
    if made.exists():
        raise UserError(
            f"{made}: there is such a layer already", hint="take it away, or choose another --to DIR"
        )
    new = made.with_name(f".{made.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        parts = [_metadata(folder, name, new), *_fragments(folder, new), *_overlay(folder, new)]
        parts += _rest(folder, new)
        swap_folder(new, made)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return made, parts


def _metadata(folder: Path, name: str, new: Path) -> PartReport:
    file = skiffos.file_of(LayerRef(name, folder, skiffos=True))
    lines = [f"# From the SkiffOS package {name}.", f"description = {_quoted(file.description)}"]
    if file.requires:
        lines.append(f"requires = [{', '.join(_quoted(one) for one in file.requires)}]")
    if not file.listed:
        lines.append("listed = false")
    write_atomic(new / "layer.toml", ("\n".join(lines) + "\n").encode())
    return PartReport("metadata", "translated", "description, dependencies and unlisted are in layer.toml")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _fragments(folder: Path, new: Path) -> list[PartReport]:
    parts = []
    for kind in _FRAGMENTS:
        files = sorted(path for path in (folder / kind).glob("*") if path.is_file() and path.name[0] != ".")
        for path in files:
            write_atomic(new / kind / f"{path.name.removesuffix('.config')}.config", path.read_bytes())
        if files:
            parts.append(PartReport(kind, "kept", f"{len(files)} fragments, now *.config"))
    # A fragment may name files beside it.
    if (folder / "resources").is_dir():
        shutil.copytree(folder / "resources", new / "resources", symlinks=True)
        parts.append(PartReport("resources", "kept", "as it was"))
    return parts


def _overlay(folder: Path, new: Path) -> list[PartReport]:
    source = folder / "root_overlay"
    if not source.is_dir():
        return []
    shutil.copytree(source, new / "rootfs", symlinks=True)
    parts = [PartReport("root_overlay", "translated", "it is rootfs/")]
    root = (new / "rootfs").resolve()
    for name in _SYSTEMD:
        path = root / name
        # A link above it may lead out of the layer, to this machine's own.
        if os.path.lexists(path) and path.parent.resolve().is_relative_to(root):
            path.unlink() if path.is_symlink() else shutil.rmtree(path)
            parts.append(
                PartReport(
                    f"root_overlay/{name}", "left", "there is no systemd: write a service in services/"
                )
            )
    return parts


def _rest(folder: Path, new: Path) -> list[PartReport]:
    parts = []
    done = {"metadata", "root_overlay", "resources", *_FRAGMENTS}
    for path in sorted(folder.iterdir()):
        if path.name in done or path.name.startswith("."):
            continue
        if path.name in _SAME:
            shutil.copytree(path, new / path.name, symlinks=True)
            parts.append(PartReport(path.name, "kept", _SAME[path.name]))
        elif path.is_file():
            shutil.copy2(path, new / path.name)
            parts.append(PartReport(path.name, "kept", "as it was"))
        else:
            parts.append(PartReport(path.name, "left", _LEFT.get(path.name, "not known to a layer")))
    return parts
