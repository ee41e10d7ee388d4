"""The `debian` builder: recipe + packages → tree and kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec

from skiff.builders import unmatched
from skiff.builders.built import Built
from skiff.builders.debian import skeleton
from skiff.builders.debian.boot import LOADER_PACKAGE, boot_files, device_trees, loader_packages
from skiff.builders.debian.interpreter import interpreter
from skiff.builders.debian.unpack import Unpacked
from skiff.builders.finish import finish
from skiff.builders.kernel import Kernel, add_modules, select_kernel
from skiff.builders.linux.compile import LINUX, Compiled
from skiff.builders.trim import Globs
from skiff.host.errors import UserError
from skiff.model.recipe import Recipe
from skiff.model.tree import Entry, Kind, Tree


def request(recipe: Recipe) -> list[str]:
    """The package names that apt is asked for."""
    kernel = [] if recipe.kernel_source else [recipe.kernel_package]
    return [*kernel, *recipe.packages, *loader_packages(recipe)]


def compose(
    recipe: Recipe,
    unpacked: Sequence[Unpacked],
    compiled: Compiled | None,
    generated: Sequence[tuple[str, Entry]],
    epoch: int,
    tools: Sequence[Unpacked],
    cache: Path,
    step: Callable[[str], None],
) -> Built:
    """Lay packages, layers and settings over one another, trim, and check the result.

    ``compiled``: the kernel, when no package brings it. ``tools``: what runs on this machine in place of the
    image's own packages, when these are for another CPU.
    Raises UserError when a program is missing or a library cannot be found.
    """
    tree = Tree()
    skeleton.add_skeleton(tree, recipe.arch)
    step("packages")
    kernel_package = _add_packages(tree, recipe, unpacked)
    kernel = _compiled(compiled, recipe) if compiled else _kernel(kernel_package, recipe, cache)
    skeleton.add_certificates(tree)
    add_modules(tree, kernel, cache)
    step("layers")
    skeleton.add_accounts(tree, recipe)
    trees = compiled.dtbs if compiled else device_trees(unpacked, kernel.package)
    boot = boot_files(recipe, unpacked, trees, kernel.package)
    python = partial(interpreter, tools or unpacked, cache)
    built = finish(tree, recipe, kernel, generated, boot, epoch, python, cache, step)
    return msgspec.structs.replace(built, warnings=(*_unmatched(recipe, unpacked), *built.warnings))


def _unmatched(recipe: Recipe, unpacked: Sequence[Unpacked]) -> list[str]:
    return [
        line
        for item in unpacked
        for line in unmatched.of_package(
            item.package.name, [entry.path for entry in item.index.entries], recipe
        )
    ]


def _add_packages(tree: Tree, recipe: Recipe, unpacked: Sequence[Unpacked]) -> Unpacked | None:
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
        if narrowed and not any(globs.match(path) for path, _ in entries):
            raise _nothing_kept(item.package.name, recipe)
        for path, entry in entries:
            if narrowed is None or globs.match(path) or _is_library(path):
                if entry.kind is Kind.DIR and narrowed is not None:
                    continue
                tree.add(path, entry)
    return kernel


def _nothing_kept(package: str, recipe: Recipe) -> UserError:
    return UserError(
        f"layer {recipe.origins.get(f'keep[{package}]', '?')}: debian.keep.{package}: the package has no "
        f"{' and no '.join(recipe.keep[package])}",
        hint="put the paths right; without the line all of the package is taken",
    )


def _compiled(compiled: Compiled, recipe: Recipe) -> Kernel:
    return select_kernel(
        compiled.kernel,
        compiled.modules,
        compiled.root / "lists",
        LINUX,
        [*recipe.modules, *recipe.load_modules],
        recipe.boot_modules,
    )


def _kernel(unpacked: Unpacked | None, recipe: Recipe, cache: Path) -> Kernel:
    if unpacked is None:
        raise UserError(
            f"package {recipe.kernel_package} brought no kernel (no boot/vmlinuz-*)",
            hint="name one in `kernel.package`, as linux-image-amd64",
        )
    files = unpacked.root / "files"
    folders = sorted((files / "usr/lib/modules").glob("*"))
    if not folders:
        raise UserError(f"{unpacked.package.name}: the package holds no kernel modules")
    return select_kernel(
        next((files / "boot").glob("vmlinu[xz]-*")),
        folders[0],
        cache / "modules" / unpacked.package.sha256,
        unpacked.package.name,
        [*recipe.modules, *recipe.load_modules],
        recipe.boot_modules,
    )


def _is_library(path: str) -> bool:
    # Offered to the loader; those that nobody loads are removed when trimming.
    folder, _, name = path.rpartition("/")
    return ".so" in name and (
        folder in ("usr/lib", "usr/lib64", "lib", "lib64")
        or folder.endswith(("-linux-gnu", "-linux-gnueabihf"))
    )
