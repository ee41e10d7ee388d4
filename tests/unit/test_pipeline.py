"""What the pipeline adds to the errors of its stages: which layer is to blame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from skiff import pipeline
from skiff.builders.buildroot import build as source
from skiff.builders.buildroot import outdated
from skiff.builders.debian import one_package
from skiff.builders.debian.archive import NoSuchPackage, Resolver
from skiff.builders.debian.compose import request
from skiff.builders.debian.source import Sources
from skiff.builders.debian.unpack import Index, Unpacked
from skiff.builders.elf import Linker
from skiff.builders.linux.compile import LINUX
from skiff.builders.uboot.compile import UBOOT
from skiff.host.errors import UserError
from skiff.host.ui import Ui
from skiff.model.arch import Arch
from skiff.model.image import PackageFact
from skiff.model.packages import Package, PackageSet
from skiff.model.recipe import Recipe
from skiff.model.tree import Entry, Tree
from skiff.model.workspace import Workspace
from tests.unit.layer_tree import LayerTree

Generated = Sequence[tuple[str, Entry]]


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


@pytest.mark.parametrize("update", [True, False])
def test_what_is_asked_for_anew_is_the_kernel_s_source_and_what_starts_a_board_too(
    update: bool, tree: LayerTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.add(
        "a/board",
        '[kernel]\nsource = true\n[uboot]\ndefconfig = "one"\ntarget = "x"\nfiles = ["x"]\n'
        '[[disk.files]]\nname = "one"\npackage = "firmware"\npath = "one"\n',
    )
    asked = []

    def packages(_: object, names: list[str], *__: object, update: bool, **___: object) -> PackageSet:
        asked.append((*names, update))
        item = Package(names[-1], "1", "all", "", 1, "main", "pool/main/x")
        return PackageSet(Arch.AMD64, "trixie", (), (), 0, (item,))

    def find(_: object, name: str, *__: object, update: bool = False, **___: object) -> None:
        asked.append((name, update))

    monkeypatch.setattr(Resolver, "packages", packages)
    monkeypatch.setattr(Sources, "find", find)
    options = pipeline.Options(mirror="http://mirror.example/debian", update=update)
    recipe = tree.resolve("a/board")
    pipeline.write_lock(recipe, Workspace("one", tmp_path), tmp_path, options, Ui(quiet=True))
    assert asked == [
        (*request(recipe), update),
        (LINUX, update),
        (UBOOT, update),
        ("firmware", update),
    ]


def test_a_program_that_a_hook_writes_is_checked_like_any_other_and_there_until_it_is_packed(
    tree: LayerTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = tree.add("a/hook").path / "hooks/generate"
    hook.parent.mkdir()
    hook.write_text(f"#!/bin/sh\ncp {Path('/bin/ls').resolve()} program\n")
    hook.chmod(0o755)
    recipe = tree.resolve("a/hook")

    def composed(
        recipe: Recipe, unpacked: object, compiled: object, generated: Generated, *_: object
    ) -> Tree:
        composed = Tree()
        for path, entry in generated:
            composed.add(path, entry)
        with pytest.raises(UserError, match=r"/program .layer a/hook. needs libc\.so\.6"):
            Linker(composed, Arch.host()).check()
        return composed

    packages = PackageSet(recipe.arch, "trixie", (), (), 0, ())
    monkeypatch.setattr(pipeline, "resolve_packages", lambda *_: packages)
    monkeypatch.setattr(pipeline, "_unpack", lambda *_: [])
    monkeypatch.setattr(pipeline, "compose", composed)
    packed: list[bytes] = []
    monkeypatch.setattr(pipeline, "_pack", lambda _, __, built, *___: packed.append(built["program"].read()))
    pipeline.build(recipe, Workspace("one", tmp_path), tmp_path, pipeline.Options(), Ui(quiet=True))
    assert packed == [Path("/bin/ls").read_bytes()]


class FromSource:
    """Images with a UEFI loader that Buildroot compiles, which here compiles nothing."""

    def __init__(self, recipe: Recipe, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.recipe = msgspec.structs.replace(recipe, builder="buildroot")
        self.folder = folder
        # Of the loader's package in the archive, and of the images that were built.
        self.sum = "one"
        self.updates: list[bool] = []
        self.keys: list[str] = []
        self.facts: list[PackageFact] = []
        make = SimpleNamespace(
            release=SimpleNamespace(epoch=1), places=SimpleNamespace(output=folder, downloads=folder)
        )
        monkeypatch.setattr(pipeline, "configure", lambda *_: SimpleNamespace(make=make))
        for name in ("state", "packages", "compile_all"):
            monkeypatch.setattr(source, name, lambda *_: [])
        monkeypatch.setattr(source, "owners", lambda _: {})
        monkeypatch.setattr(outdated, "renew", lambda *_: [])
        monkeypatch.setattr(pipeline, "source_tree", lambda *_: None)
        monkeypatch.setattr(pipeline, "find_package", self._find)
        monkeypatch.setattr(pipeline, "package_file", lambda package, path, *_: folder / path)
        monkeypatch.setattr(one_package, "unpacked_package", self._unpacked)
        monkeypatch.setattr(pipeline, "_pack", self._pack)
        monkeypatch.setattr(pipeline, "load", lambda _: self._image() if self.keys else None)

    def _find(self, arch: Arch, name: str, *_: object, update: bool = False) -> Package:
        self.updates.append(update)
        return Package(name, "257", arch.value, self.sum, 1, "main", "pool/main/s/systemd/x.deb")

    def _unpacked(self, package: Package, *_: object) -> Unpacked:
        return Unpacked(package, self.folder, Index((), ("LGPL-2.1",)))

    def _pack(self, *words: object) -> SimpleNamespace:
        *_, key, _, self.facts, _, _ = words  # type: ignore[assignment]
        self.keys.append(str(key))
        return self._image()

    def _image(self) -> SimpleNamespace:
        return SimpleNamespace(recipe_sha256=self.keys[-1])

    @property
    def workspace(self) -> Workspace:
        return Workspace("one", self.folder)

    def build(self, *, update: bool = False, locked: bool = False) -> bool:
        """Whether the image had to be built."""
        options = pipeline.Options(update=update, locked=locked)
        return pipeline.build(self.recipe, self.workspace, self.folder, options, Ui(quiet=True))[1]


@pytest.fixture
def from_source(tree: LayerTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FromSource:
    tree.add("a/board", '[disk.loader]\namd64 = "uefi"\n')
    return FromSource(tree.resolve("a/board"), tmp_path, monkeypatch)


def test_debians_loader_of_what_buildroot_compiles_counts_as_part_of_the_image(
    from_source: FromSource,
) -> None:
    assert from_source.build()
    assert from_source.facts == [
        PackageFact("systemd-boot-efi", "257", "amd64", "one", ("LGPL-2.1",), "systemd")
    ]
    assert not from_source.build()
    from_source.sum = "mended"
    assert from_source.build(update=True)
    assert from_source.facts[0].sha256 == "mended"
    assert from_source.updates == [False, False, True]


def test_debians_loader_of_what_buildroot_compiles_is_in_its_lock(from_source: FromSource) -> None:
    with pytest.raises(UserError, match="there is no lock"):
        from_source.build(locked=True)
    recipe, ui = from_source.recipe, Ui(quiet=True)
    pipeline.write_lock(recipe, from_source.workspace, from_source.folder, pipeline.Options(), ui)
    from_source.sum = "of later"
    assert from_source.build(locked=True)
    assert [fact.sha256 for fact in from_source.facts] == ["one"]
