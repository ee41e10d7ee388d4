"""The whole way from names to a Recipe, for everything outside this package."""

from __future__ import annotations

from collections.abc import Sequence

from skiff.layers.find import Search
from skiff.layers.merge import merge
from skiff.layers.order import choose_arch, ordered
from skiff.model.arch import Arch
from skiff.model.recipe import LayerRef, Recipe


def resolve(
    names: Sequence[str],
    arch: Arch | None,
    search: Search,
    overrides: Sequence[LayerRef] = (),
    authorized_keys: Sequence[str] = (),
    *,
    builder: str = "debian",
    kernel: str = "",
) -> Recipe:
    """The recipe for these layers (names or paths) and this CPU; without a CPU, for one that suits them.

    Raises UserError for all that can be wrong with the layers: unknown, in a circle, excluding each other,
    not for the CPU, or with a mistake in their layer.toml.
    """
    layers = ordered(names, search, overrides)
    return merge(layers, choose_arch(layers, arch), tuple(authorized_keys), builder, kernel)
