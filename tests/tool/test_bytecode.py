"""Python's modules are in the image as bytecode, made by the image's own Python."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from skiff.builders.bytecode import compile_modules
from skiff.builders.debian.archive import Archive
from skiff.builders.debian.interpreter import find_interpreter, interpreter
from skiff.builders.debian.unpack import Index, IndexEntry, Unpacked
from skiff.host.errors import UserError
from skiff.host.run import run
from skiff.model.arch import Arch
from skiff.model.packages import Package, PackageSet
from skiff.model.recipe import Recipe
from skiff.model.tree import Entry, Kind, Tree

RECIPE = Recipe(Arch.AMD64, (), bytecode=("usr/lib/mine",))
MODULES = {
    "usr/lib/mine/greet/__init__.py": "WORDS = {'good', 'morning'}\ndef hello():\n    return 1 / 0\n",
    "usr/lib/mine/greet/__main__.py": "from greet import WORDS\nprint(*sorted(WORDS))\n",
    "usr/lib/mine/greet/words.txt": "good",
    "usr/lib/other/plain.py": "x = 1\n",
}


def here() -> nullcontext[tuple[str | Path, ...]]:
    return nullcontext((sys.executable,))


def compiled(folder: Path, modules: dict[str, str] = MODULES) -> Tree:
    tree = Tree()
    for path, text in modules.items():
        file = folder / path.replace("/", "_")
        file.write_text(text)
        tree.add(path, Entry(Kind.FILE, 0o644, "layer mine", source=file))
    compile_modules(tree, RECIPE, here)
    return tree


def laid(tree: Tree, folder: Path) -> Path:
    for path, entry in tree.files():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(entry.read())
    return folder / "usr/lib/mine"


def python(folder: Path, *words: str) -> tuple[int, str]:
    done = run([sys.executable, "-B", *words], cwd=folder, check=False)
    return done.returncode, (done.stdout + done.stderr).decode()


def test_only_the_bytecode_of_modules_that_are_named_is_there(tmp_path: Path) -> None:
    tree = compiled(tmp_path)
    assert [path for path, _ in tree.files()] == [
        "usr/lib/mine/greet/__init__.pyc",
        "usr/lib/mine/greet/__main__.pyc",
        "usr/lib/mine/greet/words.txt",
        "usr/lib/other/plain.py",
    ]
    entry = tree["usr/lib/mine/greet/__init__.pyc"]
    assert (entry.origin, entry.mode) == ("layer mine", 0o644)


def test_it_runs_and_names_its_place_on_the_device(tmp_path: Path) -> None:
    folder = laid(compiled(tmp_path), tmp_path / "root")
    assert python(folder, "-m", "greet") == (0, "good morning\n")
    status, said = python(folder, "-c", "import greet; greet.hello()")
    assert status == 1
    assert 'File "/usr/lib/mine/greet/__init__.py", line 3, in hello' in said


def test_what_an_overlay_lays_beside_it_comes_first(tmp_path: Path) -> None:
    folder = laid(compiled(tmp_path), tmp_path / "root")
    (folder / "greet/__main__.py").write_text("print('changed')\n")
    assert python(folder, "-m", "greet") == (0, "changed\n")


def test_the_same_text_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for name, seed in (("one", "1"), ("two", "2")):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        (tmp_path / name).mkdir()
        made.append(compiled(tmp_path / name))
    assert [entry.read() for _, entry in made[0].files()] == [entry.read() for _, entry in made[1].files()]


def test_a_module_that_is_not_valid_is_told_with_its_layer(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^tree\.bytecode: /usr/lib/mine/bad\.py \(layer mine\): .*bad\.py"):
        compiled(tmp_path, {"usr/lib/mine/bad.py": "def no(:\n"})


def test_what_nobody_names_needs_no_python(tmp_path: Path) -> None:
    tree = Tree()
    tree.add("usr/lib/other/plain.py", Entry(Kind.FILE, 0o644, "mine", source=b"x = 1\n"))
    compile_modules(tree, RECIPE, lambda: interpreter([], tmp_path))
    assert "usr/lib/other/plain.py" in tree


def test_an_image_without_python_cannot_have_it(tmp_path: Path) -> None:
    index = Index((IndexEntry("usr/bin/jq", Kind.FILE, 0o755, 0, 0),), ())
    packages = [Unpacked(package("jq", Arch.host()), tmp_path, index)]
    with pytest.raises(UserError, match="no Python to compile for"), interpreter(packages, tmp_path):
        pass


def package(name: str, arch: Arch) -> Package:
    return Package(name, "1", arch.debian, "0" * 64, 1, "main", name)


def test_the_interpreter_is_the_images_own_where_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, foreign = Arch.host(), next(arch for arch in Arch.bootable() if arch is not Arch.host())

    def found(arch: Arch, *names: str, tools: tuple[Package, ...] = ()) -> tuple[Package, ...]:
        packages = tuple(package(name, arch) for name in names)
        given = PackageSet(arch, "trixie", (), (), 0, packages, tools=tools)
        recipe = Recipe(arch, (), bytecode=("usr/lib/mine",))
        return find_interpreter(recipe, given, tmp_path, None, lambda _: None)

    def asked(*_: object, **__: object) -> None:
        raise UserError("the archive is asked")

    monkeypatch.setattr(Archive, "update", asked)

    assert found(host, "python3.13-minimal") == ()
    assert found(foreign, "jq") == ()
    locked = (package("python3.13-minimal", host),)
    assert found(foreign, "python3.13-minimal", tools=locked) == locked
    for elsewhere in ((), (package("python3.13-minimal", foreign),)):
        with pytest.raises(UserError, match="the archive is asked"):
            found(foreign, "python3.13-minimal", tools=elsewhere)
