"""A lock also settles what a board's U-Boot is made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from skiff import pipeline
from skiff.builders.debian.compose import request
from skiff.host import json
from skiff.host.errors import UserError
from skiff.host.ui import Ui
from skiff.model.packages import Package, PackageSet, Source, UbootLock
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


def locked(recipe: Recipe, tmp_path: Path, uboot: UbootLock | None) -> UbootLock:
    workspace = Workspace("one", tmp_path)
    packages = PackageSet(recipe.arch, "trixie", tuple(request(recipe)), (), 0, (), uboot)
    workspace.lock.write_bytes(json.encode(packages))
    options = pipeline.Options(locked=True)
    return pipeline._uboot_lock(recipe, workspace, tmp_path, options, Ui(quiet=True))


def test_the_lock_s_source_and_packages_are_taken(recipe: Recipe, tmp_path: Path) -> None:
    lock = UbootLock(SOURCE, (MONITOR,))
    assert locked(recipe, tmp_path, lock) == lock


@pytest.mark.parametrize("uboot", [None, UbootLock(SOURCE, ())])
def test_a_lock_without_them_is_refused(recipe: Recipe, tmp_path: Path, uboot: UbootLock | None) -> None:
    with pytest.raises(UserError, match="the lock tells nothing of this board's U-Boot") as caught:
        locked(recipe, tmp_path, uboot)
    assert "skiff lock" in caught.value.hint
