"""Data flows one way: which part of the tool may import which."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

import skiff

PACKAGE = Path(skiff.__file__).parent
DEVICE = PACKAGE.parent / "skiff_device"
STAGES = ("layers", "builders", "image", "machine", "port", "fleet", "kernel")
# Attributes of `os` that start a program.
STARTERS = ("system", "popen", "fork", "exec", "spawn", "posix_spawn")


@cache
def _read(file: Path) -> tuple[frozenset[str], frozenset[str]]:
    """Modules that a file imports, also within functions, and attributes of `os` that it uses; read once."""
    names: set[str] = set()
    used: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # A relative import is none of our habits.
            assert node.level == 0 and node.module, f"{file}: write imports in full"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            used.add(node.attr)
    return frozenset(names), frozenset(used)


def imported(file: Path) -> frozenset[str]:
    """Modules that a file imports."""
    return _read(file)[0]


def starts_programs(file: Path) -> bool:
    """Whether a file imports subprocess, or calls what starts a program in `os`."""
    names, used = _read(file)
    if any(name.split(".")[0] == "subprocess" for name in names):
        return True
    called = used | {name.partition(".")[2] for name in names if name.startswith("os.")}
    return any(name.startswith(STARTERS) for name in called)


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


def test_stages_meet_only_in_the_pipeline() -> None:
    meeting = {
        file.name
        for file in PACKAGE.glob("*.py")
        if any(name.split(".")[:2] == ["skiff", stage] for name in imported(file) for stage in STAGES)
    }
    assert meeting == {"pipeline.py", "pipeline_buildroot.py", "pipeline_linux.py", "porting.py"}


def test_every_folder_has_its_rule() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {"_layers"}
    assert folders <= {*STAGES, "cli", "model", "host"}


def test_nothing_but_the_way_in_imports_verbs() -> None:
    importing = {
        file.relative_to(PACKAGE).as_posix()
        for file in PACKAGE.rglob("*.py")
        if file.parent.name != "cli" and any(name.startswith("skiff.cli") for name in imported(file))
    }
    assert importing == {"outcome.py"}


def test_what_runs_on_the_device_never_imports_the_tool() -> None:
    found = [
        file for file in DEVICE.rglob("*.py") for name in imported(file) if name.split(".")[0] == "skiff"
    ]
    assert found == []


def test_one_module_starts_programs() -> None:
    files = [file for file in PACKAGE.rglob("*.py") if "_layers" not in file.parts]
    found = [file.relative_to(PACKAGE).as_posix() for file in files if starts_programs(file)]
    assert found == ["host/run.py"]


def test_one_module_looks_for_homes() -> None:
    # Path's own way raises for a user who is not there.
    files = [file for file in PACKAGE.rglob("*.py") if "_layers" not in file.parts]
    found = [file.relative_to(PACKAGE).as_posix() for file in files if "expanduser(" in file.read_text()]
    assert found == ["host/files.py"]


def test_the_tool_never_imports_what_runs_on_the_device() -> None:
    found = [
        file
        for file in PACKAGE.rglob("*.py")
        if "_layers" not in file.parts
        for name in imported(file)
        if name.split(".")[0] == "skiff_device"
    ]
    assert found == []


def test_parts_of_the_device_share_only_what_is_common() -> None:
    for part in (folder for folder in DEVICE.iterdir() if (folder / "__init__.py").exists()):
        names = {name for file in part.rglob("*.py") for name in imported(file)}
        found = {name.split(".")[1] for name in names if name.startswith("skiff_device.")}
        assert found <= {part.name, "common"}, part.name


def test_one_module_of_the_device_starts_programs() -> None:
    found = [file.relative_to(DEVICE).as_posix() for file in DEVICE.rglob("*.py") if starts_programs(file)]
    assert found == ["common/run.py"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import subprocess", True),
        ("def f():\n    from subprocess import run", True),
        ("import os\nos.execvp('a', ['a'])", True),
        ("from os import popen", True),
        ("import os\nos.environ", False),
    ],
)
def test_a_program_started_elsewhere_is_noticed(tmp_path: Path, source: str, expected: bool) -> None:
    file = tmp_path / "module.py"
    file.write_text(source)
    assert starts_programs(file) is expected
