"""The `debian` builder: recipe + packages → tree and kernel."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from skiff.builders.debian import skeleton
from skiff.builders.debian.boot import LOADER_PACKAGE, boot_files, loader_packages
from skiff.builders.debian.device_python import device_modules
from skiff.builders.debian.driver_firmware import missing_firmware
from skiff.builders.debian.elf import Linker
from skiff.builders.debian.kernel import Kernel, add_modules, select_kernel
from skiff.builders.debian.trim import Globs, drop, drop_unneeded_libraries
from skiff.builders.debian.unpack import Unpacked
from skiff.host.errors import UserError
from skiff.model.recipe import LayerRef, Recipe
from skiff.model.tree import Entry, Kind, Tree


class Built(msgspec.Struct, frozen=True):
    """What a builder hands on: the whole root file system, the kernel, and what boot reads first."""

    tree: Tree
    kernel: Kernel
    # Paths that boot reads before SSH answers: kept unpacked in the initramfs.
    early: frozenset[str]
    # What goes to the boot partition besides the kernel: file by artefact name.
    boot: dict[str, Path]
    # What is left to the user's judgement, a line each.
    warnings: tuple[str, ...] = ()


def request(recipe: Recipe) -> list[str]:
    """The package names that apt is asked for."""
    return [recipe.kernel_package, *recipe.packages, *loader_packages(recipe)]


def compose(
    recipe: Recipe,
    unpacked: Sequence[Unpacked],
    generated: Sequence[tuple[str, Entry]],
    epoch: int,
    cache: Path,
    step: Callable[[str], None],
) -> Built:
    """Lay packages, layers and settings over one another, trim, and check the result.

    Raises UserError when a program is missing or a library cannot be found.
    """
    tree = Tree()
    skeleton.add_skeleton(tree, recipe.arch)
    step("packages")
    kernel_package = _add_packages(tree, recipe, unpacked)
    kernel = select_kernel(
        kernel_package, [*recipe.modules, *recipe.load_modules], recipe.boot_modules, cache
    )
    skeleton.add_certificates(tree)
    add_modules(tree, kernel, cache)
    step("layers")
    skeleton.add_accounts(tree, recipe)
    skeleton.add_settings(tree, recipe, epoch)
    for path, entry in device_modules(recipe):
        tree.add(path, entry)
    for layer in recipe.layers:
        _add_layer(tree, layer)
    for path, entry in generated:
        tree.add(path, entry)
    _add_extras(tree, recipe)
    step("trim")
    keep = Globs(recipe.trim_keep)
    drop(tree, recipe.trim_drop, keep)
    drop_unneeded_libraries(tree, recipe.arch, keep)
    step("check")
    _check_programs(tree, recipe)
    linker = Linker(tree, recipe.arch)
    linker.check()
    return Built(
        tree,
        kernel,
        _early(tree, recipe, linker),
        boot_files(recipe, unpacked, kernel.package),
        tuple(missing_firmware(tree, kernel.modules, recipe.firmware_optional)),
    )


def _early(tree: Tree, recipe: Recipe, linker: Linker) -> frozenset[str]:
    globs = Globs(recipe.early)
    return frozenset(linker.closure({path for path, _ in tree.files() if globs.match(path)}))


def _add_packages(tree: Tree, recipe: Recipe, unpacked: Sequence[Unpacked]) -> Unpacked:
    """Add every package's files; returns the kernel's package, which is none of the tree's."""
    kernel: Unpacked | None = None
    for item in unpacked:
        entries = item.items()
        if any(path.startswith("boot/vmlinu") for path, _ in entries):
            kernel = item
            continue
        if item.package.name == LOADER_PACKAGE:
            continue
        narrowed = recipe.keep.get(item.package.name)
        globs = Globs(narrowed or ())
        for path, entry in entries:
            if narrowed is None or globs.match(path) or _is_library(path):
                if entry.kind is Kind.DIR and narrowed is not None:
                    continue
                tree.add(path, entry)
    if kernel is None:
        raise UserError(f"package {recipe.kernel_package} brought no kernel (no boot/vmlinuz-*)")
    return kernel


def _is_library(path: str) -> bool:
    # Offered to the loader; those that nobody loads are removed when trimming.
    folder, _, name = path.rpartition("/")
    return ".so" in name and (
        folder in ("usr/lib", "usr/lib64", "lib", "lib64")
        or folder.endswith(("-linux-gnu", "-linux-gnueabihf"))
    )


def _add_layer(tree: Tree, layer: LayerRef) -> None:
    """Lay a layer's `rootfs/` over the tree, and its `services/` under /etc/service."""
    for path, entry in scan(layer.rootfs, f"layer {layer.name}"):
        tree.add(path, entry)
    if layer.services.is_dir():
        for service in sorted(layer.services.iterdir()):
            # A later layer's service of the same name replaces the earlier one whole.
            tree.remove(f"etc/service/{service.name}")
            for path, entry in scan(service, f"layer {layer.name}"):
                tree.add(f"etc/service/{service.name}/{path}", entry)


def scan(folder: Path, origin: str) -> Iterable[tuple[str, Entry]]:
    """Entries for a folder of the host. Files are owned by root; only the execute bit is taken over."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted([*folders, *names]):
            path = Path(parent) / name
            info = path.lstat()
            relative = path.relative_to(folder).as_posix()
            if stat.S_ISLNK(info.st_mode):
                yield relative, Entry(Kind.LINK, 0o777, origin, target=str(path.readlink()))
            elif stat.S_ISDIR(info.st_mode):
                yield relative, Entry(Kind.DIR, 0o755, origin)
            elif stat.S_ISREG(info.st_mode):
                yield (
                    relative,
                    Entry(Kind.FILE, 0o755 if info.st_mode & 0o100 else 0o644, origin, source=path),
                )
            else:
                raise UserError(f"{path}: neither file, folder nor link", hint="remove it from the layer")


def _add_extras(tree: Tree, recipe: Recipe) -> None:
    for path, mode in recipe.dirs.items():
        tree.add(path.strip("/"), Entry(Kind.DIR, int(mode, 8), skeleton.ORIGIN))
    for path, target in recipe.links.items():
        tree.add(path.strip("/"), Entry(Kind.LINK, 0o777, skeleton.ORIGIN, target=target))
    for path in recipe.applets:
        if tree.resolve(path.strip("/")) is None:
            tree.add(path.strip("/"), Entry(Kind.LINK, 0o777, skeleton.ORIGIN, target="/usr/bin/busybox"))


def _check_programs(tree: Tree, recipe: Recipe) -> None:
    missing = []
    for program in recipe.programs:
        found = tree.resolve(program.strip("/"))
        if found is None or tree[found].kind is not Kind.FILE or not tree[found].mode & 0o111:
            missing.append(program)
    if missing:
        origins = "; ".join(
            f"{name} (layer {recipe.origins.get(f'programs[{name}]', '?')})" for name in missing
        )
        raise UserError(
            f"programs that layers promise are not in the image: {origins}",
            hint="add the package to `debian.packages`, or the path to `debian.keep`",
        )
