"""What is taken of packages on their way into the tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from skiff.builders import unmatched
from skiff.builders.debian.compose import _add_packages, _unmatched
from skiff.builders.debian.unpack import Index, IndexEntry, Unpacked
from skiff.host.errors import UserError
from skiff.model.arch import Arch
from skiff.model.packages import Package
from skiff.model.recipe import Recipe
from skiff.model.tree import Kind, Tree


def unpacked(name: str, *paths: str) -> Unpacked:
    items = tuple(IndexEntry(path, Kind.FILE, 0o755, 0, 0) for path in paths)
    return Unpacked(Package(name, "1", "amd64", "", 1, "", ""), Path("/cache"), Index(items, ()))


JQ = unpacked("jq", "usr/bin/jq", "usr/share/doc/jq", "usr/lib/libjq.so.1")


def recipe_keeping(*globs: str) -> Recipe:
    origins = {"keep[jq]": "my/x", **{f"keep[jq][{glob}]": "my/x" for glob in globs}}
    return Recipe(Arch.AMD64, (), keep={"jq": globs, "gone": ("usr/bin/gone",)}, origins=origins)


def kept(*globs: str) -> list[str]:
    tree = Tree()
    _add_packages(tree, recipe_keeping(*globs), [JQ])
    return [path for path, _ in tree.files()]


def told(*globs: str) -> list[str]:
    return _unmatched(recipe_keeping(*globs), [JQ, unpacked("other", "usr/bin/other")])


def test_of_a_package_what_is_named_comes_along_with_its_libraries() -> None:
    assert kept("/usr/bin/*") == ["usr/bin/jq", "usr/lib/libjq.so.1"]
    assert kept() == ["usr/lib/libjq.so.1"]
    assert kept("usr/bin/jq", "usr/bin/of-another-cpu") == ["usr/bin/jq", "usr/lib/libjq.so.1"]


def test_a_glob_beside_right_ones_that_matches_nothing_is_told() -> None:
    assert told("/usr/bin/*", "usr/lib/lib?q.so.1") == []
    assert told("usr/bin/jq", "usr/bin/jp", "usr/lib/*.a") == [
        "layer my/x: debian.keep.jq: the package has no usr/bin/jp",
        "layer my/x: debian.keep.jq: the package has no usr/lib/*.a",
    ]


def test_a_glob_of_trim_that_matches_nothing_is_told() -> None:
    recipe = Recipe(
        Arch.AMD64,
        (),
        trim_drop=("usr/share/zsh",),
        trim_keep=("usr/lib/*", "usr/lib/libqj.so"),
        trim_exports=("usr/bin/jq", "usr/sbin/jq"),
        trim_lines=("usr/bin/jq", "usr/bin/jg"),
        bytecode=("usr/lib/python3",),
        origins={
            "trim_keep[usr/lib/libqj.so]": "my/x",
            "trim_exports[usr/sbin/jq]": "my/y",
            "trim_lines[usr/bin/jg]": "my/z",
            "bytecode[usr/lib/python3]": "my/p",
        },
    )
    assert unmatched.of_tree([path for path, _ in JQ.items()], recipe) == [
        "layer my/x: trim.keep: nothing in the image is usr/lib/libqj.so",
        "layer my/y: trim.exports: nothing in the image is usr/sbin/jq",
        "layer my/z: trim.lines: nothing in the image is usr/bin/jg",
        "layer my/p: tree.bytecode: nothing in the image is usr/lib/python3",
    ]


def test_a_package_of_which_nothing_is_kept_is_a_mistake() -> None:
    with pytest.raises(UserError, match=r"layer my/x: debian\.keep\.jq: the package has no usr/bin/jp"):
        kept("usr/bin/jp")
