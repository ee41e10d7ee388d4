"""Folders of a layer with a misspelt name: nothing would read them, and nobody would be told."""

from __future__ import annotations

import pytest

from skiff.host.errors import UserError
from skiff.layers import load
from skiff.model.recipe import LayerRef
from tests.unit.layer_tree import LayerTree


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("service/hello/run", "services/"),
        ("Services/hello/run", "services/"),
        ("rootf/etc/motd", "rootfs/"),
        ("root_fs/etc/motd", "rootfs/"),
        ("kernels/usb.config", "kernel/"),
        ("patch/rsync/one.patch", "patches/"),
        ("hooks/generate.sh", "hooks/generate"),
        ("kernel/usb.conf", "kernel/usb.config"),
        ("uboot/boot.cfg", "uboot/boot.config"),
        ("kernel/arm46/usb.config", "kernel/arm64/"),
        (
            "buildroot/x86/usb.config",
            "buildroot/amd64/ or buildroot/arm64/ or buildroot/armhf/ or buildroot/riscv64/",
        ),
    ],
)
def test_misspelt_part_is_told(tree: LayerTree, path: str, meant: str) -> None:
    file = tree.add("odroid/xu").path / path
    file.parent.mkdir(parents=True)
    file.touch()
    message, hint = tree.error("odroid/xu")
    # A folder is named, not what lies in it.
    assert message.startswith("layers/odroid/xu/")
    assert f"/{path}".startswith(message.removeprefix("layers/odroid/xu").partition(": ")[0])
    assert message.endswith(": no part of a layer, nothing reads it")
    assert hint.startswith(f"did you mean {meant}? ")


def test_what_is_like_no_part_is_the_layers_own(tree: LayerTree) -> None:
    ref = tree.add("odroid/xu", "[buildroot.source.linux]\nfolder = 'kernels/6.12'\n")
    for path in (
        "README.md",
        "docs/one.md",
        "tests/test_one.py",
        "resources/logo.ppm",
        ".rootfs/swap",
        "kernels/6.12/Makefile",
        "kernel/README",
        "kernel/base",
        "kernel/dts/one.dts",
        "service/layer.toml",
    ):
        (ref.path / path).parent.mkdir(parents=True, exist_ok=True)
        (ref.path / path).touch()
    assert tree.resolve("odroid/xu").names == ("base", "odroid/xu")


def test_a_layer_may_be_a_source_itself(tree: LayerTree) -> None:
    tree.add("odroid/xu", "[buildroot.source.linux]\nfolder = '.'\n").path.joinpath("docs").mkdir()
    assert tree.resolve("odroid/xu").names == ("base", "odroid/xu")


def test_overrides_without_layer_toml_too(tree: LayerTree) -> None:
    folder = tree.root / "overrides"
    (folder / "service/hello").mkdir(parents=True)
    with pytest.raises(UserError, match="overrides/service: no part of a layer"):
        load(LayerRef("overrides", folder), bare=True)
