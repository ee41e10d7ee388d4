"""What is taken of packages on their way into the tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from skiff.builders.debian.compose import _add_packages
from skiff.builders.debian.unpack import Index, IndexEntry, Unpacked
from skiff.host.errors import UserError
from skiff.model.arch import Arch
from skiff.model.packages import Package
from skiff.model.recipe import Recipe
from skiff.model.tree import Kind, Tree


def unpacked(name: str, *paths: str) -> Unpacked:
    items = tuple(IndexEntry(path, Kind.FILE, 0o755, 0, 0) for path in paths)
    return Unpacked(Package(name, "1", "amd64", "", 1, "", ""), Path("/cache"), Index(items, ()))


def kept(*globs: str) -> list[str]:
    recipe = Recipe(Arch.AMD64, (), keep={"jq": globs}, origins={"keep[jq]": "my/x"})
    tree = Tree()
    _add_packages(tree, recipe, [unpacked("jq", "usr/bin/jq", "usr/share/doc/jq", "usr/lib/libjq.so.1")])
    return [path for path, _ in tree.files()]


def test_of_a_package_what_is_named_comes_along_with_its_libraries() -> None:
    assert kept("/usr/bin/*") == ["usr/bin/jq", "usr/lib/libjq.so.1"]
    assert kept() == ["usr/lib/libjq.so.1"]
    assert kept("usr/bin/jq", "usr/bin/of-another-cpu") == ["usr/bin/jq", "usr/lib/libjq.so.1"]


def test_a_package_of_which_nothing_is_kept_is_a_mistake() -> None:
    with pytest.raises(UserError, match=r"layer my/x: debian\.keep\.jq: the package has no usr/bin/jp"):
        kept("usr/bin/jp")
