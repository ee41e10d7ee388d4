"""Skiff's own Python in the image: which modules go there, and when an image is built anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from skiff.builders.device_python import TARGET, device_modules
from skiff.host.dirs import device_python
from skiff.host.errors import UserError
from skiff.layers import Search, resolve
from skiff.model.arch import Arch
from skiff.model.recipe import Recipe

LAYERS = Path(__file__).resolve().parents[2] / "layers"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name in (
        "__init__.py",
        "common/__init__.py",
        "core/__init__.py",
        "core/a.py",
        "core/deep/b.py",
        "core/tests/test_a.py",
        "core/__pycache__/a.cpython-311.pyc",
        "core/notes.txt",
        "crew/__init__.py",
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    return tmp_path


def recipe(*names: str) -> Recipe:
    return Recipe(Arch.AMD64, (), device_python=names, origins={f"device_python[{n}]": "mine" for n in names})


def test_modules_of_the_parts_named_go_along_and_nothing_else(source: Path) -> None:
    found = dict(device_modules(recipe("core"), source))
    assert set(found) == {
        f"{TARGET}/{name}"
        for name in ("__init__.py", "common/__init__.py", "core/__init__.py", "core/a.py", "core/deep/b.py")
    }
    assert found[f"{TARGET}/core/a.py"].read() == b"core/a.py"
    assert {entry.mode for entry in found.values()} == {0o644}


def test_an_image_without_such_a_layer_has_none(source: Path) -> None:
    assert list(device_modules(recipe(), source)) == []


def test_a_part_that_is_not_there_names_the_layer_and_what_there_is(source: Path) -> None:
    with pytest.raises(UserError, match=r"layer mine: device\.python: .*'cor'") as raised:
        list(device_modules(recipe("cor"), source))
    assert raised.value.hint == "there is: core, crew"


def test_the_layer_of_environments_brings_its_python() -> None:
    found = resolve(["virt/qemu", "engine/docker", "core/debian"], Arch.AMD64, Search(builtin=LAYERS))
    paths = [path for path, _ in device_modules(found)]
    assert f"{TARGET}/core/__main__.py" in paths and f"{TARGET}/core/bootstrap.py" in paths


def test_it_lies_beside_the_tool() -> None:
    assert (device_python() / "core/__main__.py").is_file()
