"""Which layer each file of a tree is there for: what a layer's budget is held against."""

from __future__ import annotations

from collections.abc import Iterable

from skiff.builders.elf import Linker
from skiff.builders.kernel import Kernel
from skiff.model.recipe import Recipe
from skiff.model.tree import Tree


def owners(tree: Tree, recipe: Recipe, kernel: Kernel, linker: Linker) -> dict[str, str]:
    """The layer for each path that one asks for: the first that brings, names or loads it.

    A layer brings its files, the packages it names or takes files from, and the modules it names, each with
    the libraries and modules that these need. What no layer reaches is not there.
    """
    needs = _module_needs(tree)
    starts: dict[str, set[str]] = {layer: set() for layer in recipe.names}
    for path, entry in tree.files():
        layer = _asker(path, entry.origin, recipe)
        if layer in starts:
            starts[layer].add(path)
    owned: dict[str, str] = {}
    for layer, start in starts.items():
        for path in linker.closure(start) | _reached(needs, start):
            owned.setdefault(path, layer)
    for name in kernel.boot:
        owned[f"modules/{name}.ko"] = recipe.origins.get(f"boot_modules[{name}]", recipe.names[0])
    return owned


def _asker(path: str, origin: str, recipe: Recipe) -> str:
    if origin.startswith("layer "):
        return origin.removeprefix("layer ")
    keys = [f"packages[{origin}]", f"keep[{origin}]"]
    if path.startswith("usr/lib/modules/") and path.endswith(".ko"):
        name = path.rpartition("/")[2].removesuffix(".ko")
        # Layers write both `virtio-rng` and `virtio_net`; the kernel's names have no `-`.
        keys = [
            f"{field}[{mark}{word}]"
            for field in ("modules", "load_modules")
            for mark in ("", "?")
            for word in (name, name.replace("_", "-"))
        ]
    return next((recipe.origins[key] for key in keys if key in recipe.origins), "")


def _module_needs(tree: Tree) -> dict[str, list[str]]:
    """For each kernel module the modules it needs, all by their path in the tree."""
    needs: dict[str, list[str]] = {}
    for path, entry in tree.files():
        if path.startswith("usr/lib/modules/") and path.endswith("/modules.dep"):
            folder = path.rpartition("/")[0]
            for line in entry.read().decode().splitlines():
                name, _, rest = line.partition(":")
                needs[f"{folder}/{name}"] = [f"{folder}/{item}" for item in rest.split()]
    return needs


def _reached(needs: dict[str, list[str]], start: Iterable[str]) -> set[str]:
    """modules.dep lists what a module needs to the end: one step is enough."""
    return {item for path in start for item in needs.get(path, ())}
