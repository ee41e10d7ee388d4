"""What the pipeline adds to the errors of its stages: which layer is to blame."""

from __future__ import annotations

from pathlib import Path

import pytest

from skiff import pipeline
from skiff.builders.debian.archive import NoSuchPackage, Resolver
from skiff.host.errors import UserError
from skiff.host.ui import Ui
from skiff.model.workspace import Workspace
from tests.unit.layer_tree import LayerTree


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
