"""What every builder does once its packages lie in the tree: layers over them, trim, and the last checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from skiff.builders import unmatched
from skiff.builders.built import Built
from skiff.builders.bytecode import Python, compile_modules
from skiff.builders.check import check_tree
from skiff.builders.device_python import device_modules
from skiff.builders.driver_firmware import missing_firmware
from skiff.builders.elf import Linker
from skiff.builders.exports import without_exports
from skiff.builders.golines import without_lines
from skiff.builders.kernel import Kernel
from skiff.builders.lay import add_extras, add_layer, add_settings, early_files, lay
from skiff.builders.owners import owners
from skiff.builders.rewrite import rewrite
from skiff.builders.trim import Globs, drop, drop_unneeded_libraries
from skiff.model.recipe import Recipe
from skiff.model.tree import Entry, Tree


def finish(
    tree: Tree,
    recipe: Recipe,
    kernel: Kernel,
    generated: Sequence[tuple[str, Entry]],
    boot: Mapping[str, Path],
    epoch: int,
    python: Python,
    cache: Path,
    step: Callable[[str], None],
) -> Built:
    """Lay layers and settings over what packages brought, trim, and check the result.

    Raises UserError when a program is missing or a library cannot be found.
    """
    add_settings(tree, recipe, epoch)
    for path, entry in device_modules(recipe):
        tree.add(path, entry)
    for layer in recipe.layers:
        add_layer(tree, layer)
    lay(tree, generated)
    add_extras(tree, recipe)
    step("trim")
    # Those of layers are for Debian's paths.
    slips = unmatched.of_tree(list(tree), recipe) if recipe.builder == "debian" else []
    keep = Globs(recipe.trim_keep)
    drop(tree, recipe.trim_drop, keep)
    drop_unneeded_libraries(tree, recipe.arch, keep)
    rewrite(tree, "exports", recipe.trim_exports, without_exports, cache)
    rewrite(tree, "lines", recipe.trim_lines, without_lines, cache)
    compile_modules(tree, recipe, python)
    step("check")
    check_tree(tree, recipe)
    linker = Linker(tree, recipe.arch)
    linker.check()
    return Built(
        tree,
        kernel,
        early_files(tree, recipe, linker),
        dict(boot),
        owners(tree, recipe, kernel, linker),
        (*slips, *missing_firmware(tree, kernel.modules, recipe.firmware_optional)),
    )
