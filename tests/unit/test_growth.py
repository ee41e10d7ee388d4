"""Two images side by side: what grew, by package and by file, and what is no answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from skiff.__main__ import main
from skiff.host import json
from skiff.host.errors import UserError
from skiff.image.growth import FILES, LAYERS, MODULES, PACKAGES, REST, Change, compare, other_sizes, total
from skiff.model.arch import Arch
from skiff.model.image import Artefact, FileFact, Image, Manifest, PackageFact, PartFact

Make = Callable[..., Path]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Writes the image of a workspace: `made("new", kernel=30, part=50, libx=(40, "2"))`."""
    monkeypatch.setenv("SKIFF_WORKSPACES", str(tmp_path))

    def make(name: str, kernel: int, part: int, **packages: tuple[int, str]) -> Path:
        folder = tmp_path / name / "image"
        folder.mkdir(parents=True, exist_ok=True)
        artefacts = []
        for file, size in (("kernel", kernel), ("initramfs", part)):
            (folder / file).write_bytes(bytes(size))
            artefacts.append(Artefact(file, folder / file, size, ""))
        image = Image(Arch.AMD64, (), f"{name} {packages}", tuple(artefacts), (), "", "", "", 0, 0, 0)
        facts = tuple(FileFact(f"usr/lib/{key}.ko", size, key, "one") for key, (size, _) in packages.items())
        named = tuple(PackageFact(key, version, "amd64", "", ()) for key, (_, version) in packages.items())
        (folder / "image.json").write_bytes(json.encode(image))
        (folder / "manifest.json").write_bytes(json.encode(Manifest((PartFact("one", part),), facts, named)))
        return folder

    return make


def test_what_grew_comes_first_and_all_adds_up(made: Make) -> None:
    before = made("before", 30, 100, libx=(100, "1"), old=(50, "1"), same=(50, "1"))
    made("after", 20, 120, libx=(130, "2"), new=(20, "1"), same=(50, "1"))
    old, new = other_sizes(str(before), PACKAGES), other_sizes("after", PACKAGES)
    changes = compare(old, new)
    assert changes == [
        Change("libx", 50, 78, "1 → 2"),
        Change("new", 0, 12, "new"),
        Change(REST, 25, 30),
        Change("kernel", 30, 20),
        Change("old", 25, 0, "gone"),
    ]
    assert sum(change.grown for change in changes) == total(new) - total(old) == 10


def test_files_and_modules_are_compared_alone(made: Make) -> None:
    before = made("before", 30, 100, libx=(100, "1"))
    after = made("after", 10, 200, libx=(200, "1"))
    assert [item.name for item in compare(other_sizes(str(before), FILES), other_sizes("after", FILES))] == [
        "/usr/lib/libx.ko",
        "kernel",
    ]
    # The kernel is a layer's there.
    assert compare(other_sizes(str(before), LAYERS), other_sizes("after", LAYERS)) == [
        Change("(no layer)", 130, 210)
    ]
    # Files of other folders than the kernel's modules are none.
    assert compare(other_sizes(str(before.parent), MODULES), other_sizes(str(after), MODULES)) == []


def test_an_image_that_is_gone_is_known_by_what_was_printed_of_it(
    made: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made("one", 30, 100, libx=(100, "1"))
    assert main(["size", "-w", "one", "--json"]) == 0
    saved = tmp_path / "size.json"
    saved.write_text(capsys.readouterr().out)
    made("one", 30, 140, libx=(140, "2"))
    assert main(["size", "-w", "one", "--against", str(saved)]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["0", "kB", "0", "kB", "+0", "kB", "in", "all"],
        ["0", "kB", "0", "kB", "+0", "kB", "libx", "(1", "→", "2)"],
    ]
    with pytest.raises(UserError, match="it lists packages, not files") as raised:
        other_sizes(str(saved), FILES)
    assert "skiff size --files --json" in raised.value.hint


def test_what_a_build_printed_holds_while_its_image_is_there(made: Make, tmp_path: Path) -> None:
    folder = made("one", 30, 100, libx=(100, "1"))
    saved = tmp_path / "build.json"
    saved.write_bytes((folder / "image.json").read_bytes())
    assert [row.name for row in other_sizes(str(saved), PACKAGES).rows or ()] == ["libx"]
    made("one", 30, 140, libx=(140, "2"))
    with pytest.raises(UserError, match="another image was built since"):
        other_sizes(str(saved), PACKAGES)


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"rows": []}'])
def test_other_files_are_no_sizes(text: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(UserError, match="not what `skiff size --json`"):
        other_sizes(str(tmp_path / "x"), PACKAGES)


def test_a_workspace_without_image_is_named(made: Make) -> None:
    with pytest.raises(UserError, match="nothing/image: no image there"):
        other_sizes("nothing", PACKAGES)
