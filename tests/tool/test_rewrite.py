"""Programs that are changed on their way into the image: those that are named, and no others."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from skiff.builders.rewrite import CannotRewrite, rewrite
from skiff.host.errors import UserError
from skiff.model.tree import Entry, Kind, Tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree()
    program = tmp_path / "program"
    program.write_bytes(b"program")
    for name in ("one", "two"):
        tree.add(f"usr/bin/{name}", Entry(Kind.FILE, 0o755, "package", source=program))
    return tree


def upper(program: bytes) -> bytes:
    return program.upper()


def content(tree: Tree, path: str) -> bytes:
    source = tree[path].source
    assert isinstance(source, Path)
    return source.read_bytes()


def test_only_what_is_named_is_changed(tree: Tree, tmp_path: Path) -> None:
    rewrite(tree, "names", ["usr/bin/one"], upper, tmp_path / "cache")
    assert (content(tree, "usr/bin/one"), content(tree, "usr/bin/two")) == (b"PROGRAM", b"program")
    assert tree["usr/bin/one"].mode == 0o755


def test_it_is_made_once(tree: Tree, tmp_path: Path) -> None:
    made: list[bytes] = []

    def change(data: bytes) -> bytes:
        made.append(data)
        return data.upper()

    rewrite(tree, "names", ["usr/bin/*"], change, tmp_path / "cache")
    assert made == [b"program"]
    # Another change of the same file is another file.
    rewrite(tree, "others", ["usr/bin/two"], lambda data: data[::-1], tmp_path / "cache")
    assert (content(tree, "usr/bin/one"), content(tree, "usr/bin/two")) == (b"PROGRAM", b"MARGORP")


def test_it_is_made_anew_when_the_way_of_it_is_mended(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name, made in (("way_one", b"wrong"), ("way_two", b"right")):
        (tmp_path / f"{name}.py").write_text(f"def change(program):\n    return {made!r}\n")
        change = importlib.import_module(name).change
        program = Tree()
        program.add("usr/bin/one", tree["usr/bin/one"])
        rewrite(program, "names", ["usr/bin/one"], change, tmp_path / "cache")
        assert content(program, "usr/bin/one") == made


def test_what_cannot_be_changed_is_told(tree: Tree, tmp_path: Path) -> None:
    def change(data: bytes) -> bytes:
        raise CannotRewrite("it is a poem")

    with pytest.raises(UserError, match=r"trim\.names: /usr/bin/one \(package\): it is a poem") as told:
        rewrite(tree, "names", ["usr/bin/*"], change, tmp_path / "cache")
    assert told.value.hint == "take it out of `trim.names`"
    assert content(tree, "usr/bin/one") == b"program"
