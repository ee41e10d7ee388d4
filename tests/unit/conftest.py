"""What several unit tests start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.layer_tree import LayerTree


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the current one, with no setting from outside."""
    for name in ("CONFIG", "WORKSPACE", "WORKSPACES", "EXTRA_CONFIGS_PATH", "QUIET"):
        monkeypatch.delenv(f"SKIFF_{name}", raising=False)
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setenv("SKIFF_CACHE", str(tmp_path / "cache"))
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def tree(project: Path) -> LayerTree:
    """A folder of layers that holds only a small `base`."""
    return LayerTree(project)
