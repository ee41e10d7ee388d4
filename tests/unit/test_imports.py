"""Data flows one way: which part of the tool may import which."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import skiff

PACKAGE = Path(skiff.__file__).parent
STAGES = ("layers", "builders", "image", "machine", "port", "kernel")


def imported(file: Path) -> set[str]:
    """Modules that a file imports, also within functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def parts(folder: str) -> set[str]:
    """The parts of skiff that the files of a folder import: `host`, `model` …"""
    files = (PACKAGE / folder).rglob("*.py")
    return {name.split(".")[1] for file in files for name in imported(file) if name.startswith("skiff.")}


@pytest.mark.parametrize("stage", [name for name in STAGES if (PACKAGE / name).is_dir()])
def test_a_stage_imports_only_model_and_host(stage: str) -> None:
    assert parts(stage) <= {stage, "model", "host", "__version__"}


def test_model_imports_nothing_else() -> None:
    assert parts("model") <= {"model"}


def test_host_imports_only_model() -> None:
    assert parts("host") <= {"host", "model"}


def test_one_module_starts_programs() -> None:
    files = [file for file in PACKAGE.rglob("*.py") if "_layers" not in file.parts]
    starters = {"subprocess", "os.system", "os.popen", "os.execv"}
    found = [
        file.relative_to(PACKAGE).as_posix()
        for file in files
        if any(name.split(".")[0] == "subprocess" or name in starters for name in imported(file))
    ]
    assert found == ["host/run.py"]
