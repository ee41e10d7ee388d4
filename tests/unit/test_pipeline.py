"""What the pipeline adds to the errors of its stages: which layer is to blame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from skiff import pipeline
from skiff.builders.debian.archive import NoSuchPackage, Resolver
from skiff.builders.debian.compose import request
from skiff.builders.debian.source import Sources
from skiff.builders.elf import Linker
from skiff.builders.linux.compile import LINUX
from skiff.builders.uboot.compile import UBOOT
from skiff.host.errors import UserError
from skiff.host.ui import Ui
from skiff.model.arch import Arch
from skiff.model.packages import Package, PackageSet
from skiff.model.recipe import Recipe
from skiff.model.tree import Entry, Tree
from skiff.model.workspace import Workspace
from tests.unit.layer_tree import LayerTree

Generated = Sequence[tuple[str, Entry]]


def test_a_missing_package_comes_with_the_layer_that_asks_for_it(
    tree: LayerTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.add("a/editor", '[debian]\npackages = ["emacs-of-tomorrow"]\n')
    tree.add("a/kernel", '[kernel.package]\namd64 = "linux-of-tomorrow"\n')
    recipe = tree.resolve("a/editor", "a/kernel")

    def packages(*_: object, **__: object) -> None:
        raise NoSuchPackage(["emacs-of-tomorrow", "linux-of-tomorrow"], recipe.arch)

    monkeypatch.setattr(Resolver, "packages", packages)
    workspace, options = Workspace("one", tmp_path), pipeline.Options(mirror="http://mirror.example/debian")
    with pytest.raises(UserError) as raised:
        pipeline.resolve_packages(recipe, workspace, tmp_path, options, Ui(quiet=True))
    assert "emacs-of-tomorrow, linux-of-tomorrow" in raised.value.message
    assert raised.value.message.endswith("(layer a/editor, layer a/kernel)")
    assert "debian.packages" in raised.value.hint


@pytest.mark.parametrize("update", [True, False])
def test_what_is_asked_for_anew_is_the_kernel_s_source_and_what_starts_a_board_too(
    update: bool, tree: LayerTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.add(
        "a/board",
        '[kernel]\nsource = true\n[uboot]\ndefconfig = "one"\ntarget = "x"\nfiles = ["x"]\n'
        '[[disk.files]]\nname = "one"\npackage = "firmware"\npath = "one"\n',
    )
    asked = []

    def packages(_: object, names: list[str], *__: object, update: bool, **___: object) -> PackageSet:
        asked.append((*names, update))
        item = Package(names[-1], "1", "all", "", 1, "main", "pool/main/x")
        return PackageSet(Arch.AMD64, "trixie", (), (), 0, (item,))

    def find(_: object, name: str, *__: object, update: bool = False, **___: object) -> None:
        asked.append((name, update))

    monkeypatch.setattr(Resolver, "packages", packages)
    monkeypatch.setattr(Sources, "find", find)
    options = pipeline.Options(mirror="http://mirror.example/debian", update=update)
    recipe = tree.resolve("a/board")
    pipeline.write_lock(recipe, Workspace("one", tmp_path), tmp_path, options, Ui(quiet=True))
    assert asked == [
        (*request(recipe), update),
        (LINUX, update),
        (UBOOT, update),
        ("firmware", update),
    ]


def test_a_program_that_a_hook_writes_is_checked_like_any_other_and_there_until_it_is_packed(
    tree: LayerTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = tree.add("a/hook").path / "hooks/generate"
    hook.parent.mkdir()
    hook.write_text(f"#!/bin/sh\ncp {Path('/bin/ls').resolve()} program\n")
    hook.chmod(0o755)
    recipe = tree.resolve("a/hook")

    def composed(
        recipe: Recipe, unpacked: object, compiled: object, generated: Generated, *_: object
    ) -> Tree:
        composed = Tree()
        for path, entry in generated:
            composed.add(path, entry)
        with pytest.raises(UserError, match=r"/program .layer a/hook. needs libc\.so\.6"):
            Linker(composed, Arch.host()).check()
        return composed

    packages = PackageSet(recipe.arch, "trixie", (), (), 0, ())
    monkeypatch.setattr(pipeline, "resolve_packages", lambda *_: packages)
    monkeypatch.setattr(pipeline, "_unpack", lambda *_: [])
    monkeypatch.setattr(pipeline, "compose", composed)
    packed: list[bytes] = []
    monkeypatch.setattr(pipeline, "_pack", lambda _, __, built, *___: packed.append(built["program"].read()))
    pipeline.build(recipe, Workspace("one", tmp_path), tmp_path, pipeline.Options(), Ui(quiet=True))
    assert packed == [Path("/bin/ls").read_bytes()]
