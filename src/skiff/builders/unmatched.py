"""Globs of layers that match nothing, each told in a line: it may be a slip, or meant for another CPU."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from skiff.builders.trim import Globs
from skiff.model.recipe import Recipe


def of_package(package: str, paths: Sequence[str], recipe: Recipe) -> list[str]:
    """Those that name what is taken from a package."""
    return [
        f"layer {recipe.origins[f'keep[{package}][{glob}]']}: debian.keep.{package}: "
        f"the package has no {glob}"
        for glob in _unmatched(recipe.keep.get(package, ()), paths)
    ]


def of_tree(paths: Sequence[str], recipe: Recipe) -> list[str]:
    """Those that name what stays in the tree, or becomes smaller there, among all of it.

    `trim.drop` is none of them: a layer may drop what only others bring along.
    """
    named = (
        ("trim_keep", "trim.keep", recipe.trim_keep),
        ("trim_exports", "trim.exports", recipe.trim_exports),
        ("trim_lines", "trim.lines", recipe.trim_lines),
        ("bytecode", "tree.bytecode", recipe.bytecode),
    )
    return [
        f"layer {recipe.origins[f'{field}[{glob}]']}: {key}: nothing in the image is {glob}"
        for field, key, globs in named
        for glob in _unmatched(globs, paths)
    ]


def _unmatched(globs: Iterable[str], paths: Sequence[str]) -> list[str]:
    return [glob for glob in globs if not any(map(Globs([glob]).match, paths))]
