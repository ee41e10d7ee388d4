"""A lock also settles what a board's U-Boot is made of."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from skiff import pipeline
from skiff.builders.debian.compose import request
from skiff.builders.debian.source import Sources
from skiff.host import json
from skiff.host.errors import UserError
from skiff.host.ui import Ui
from skiff.model.packages import BootLock, Package, PackageSet, Source
from skiff.model.recipe import Recipe
from skiff.model.workspace import Workspace
from tests.unit.layer_tree import LayerTree

SOURCE = Source("u-boot", "1-1", "Package: u-boot\n", ())
MONITOR = Package("monitor", "1", "amd64", "0" * 64, 1, "main", "pool/monitor.deb")
LAYER = '[uboot]\ndefconfig = "board"\n[[uboot.input]]\nname = "BL31"\npackage = "monitor"\npath = "x"\n'


@pytest.fixture
def recipe(tree: LayerTree) -> Recipe:
    tree.add("a/board", LAYER)
    return tree.resolve("a/board")


def locked(recipe: Recipe, tmp_path: Path, boot: BootLock) -> BootLock:
    workspace = Workspace("one", tmp_path)
    packages = PackageSet(recipe.arch, "trixie", tuple(request(recipe)), recipe.provided, 0, (), boot)
    workspace.lock.write_bytes(json.encode(packages))
    options = pipeline.Options(locked=True)
    return pipeline._boot_lock(recipe, workspace, tmp_path, options, Ui(quiet=True))


def test_the_lock_s_source_and_packages_are_taken(recipe: Recipe, tmp_path: Path) -> None:
    lock = BootLock(SOURCE, (MONITOR,))
    assert locked(recipe, tmp_path, lock) == lock


@pytest.mark.parametrize("boot", [BootLock(), BootLock(SOURCE, ()), BootLock(None, (MONITOR,))])
def test_a_lock_without_them_is_refused(recipe: Recipe, tmp_path: Path, boot: BootLock) -> None:
    with pytest.raises(UserError, match="the lock tells nothing of what starts this board") as caught:
        locked(recipe, tmp_path, boot)
    assert "skiff lock" in caught.value.hint


def test_a_lock_for_what_was_provided_otherwise_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    later = msgspec.structs.replace(recipe, provided=(*recipe.provided, "perl"))
    workspace = Workspace("one", tmp_path)
    lock = PackageSet(recipe.arch, "trixie", tuple(request(recipe)), recipe.provided, 0, ())
    workspace.lock.write_bytes(json.encode(lock))
    assert pipeline._locked(recipe, workspace) == lock
    with pytest.raises(UserError, match="the lock is for other packages"):
        pipeline._locked(later, workspace)


def test_a_board_that_buildroot_compiles_for_has_a_lock_of_what_starts_it(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sources, "find", lambda *_, **__: SOURCE)
    monkeypatch.setattr(pipeline, "find_package", lambda *_, **__: MONITOR)
    monkeypatch.setattr(pipeline, "configure", lambda *_: pytest.fail("it is not said first"))
    compiled = msgspec.structs.replace(recipe, builder="buildroot")
    workspace, ui = Workspace("one", tmp_path), Ui(quiet=True)
    options = pipeline.Options(locked=True)
    with pytest.raises(UserError, match="there is no lock"):
        pipeline.build(compiled, workspace, tmp_path, options, ui)
    pipeline.write_lock(compiled, workspace, tmp_path, pipeline.Options(), ui)
    lock = pipeline._boot_lock(compiled, workspace, tmp_path, options, ui)
    assert lock == BootLock(SOURCE, (MONITOR,))
    # It has none of the packages of an image that is made of packages.
    with pytest.raises(UserError, match="the lock is for other packages"):
        pipeline._locked(recipe, workspace)
    without = msgspec.structs.replace(compiled, uboot_defconfig="", uboot_inputs=())
    with pytest.raises(UserError, match="needs no lock"):
        pipeline.write_lock(without, workspace, tmp_path, pipeline.Options(), ui)
