"""Recipes of the layers that come along, compared with those written down: shows what a change does."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from skiff.layers import Search, available, load, resolve
from skiff.model.arch import Arch
from skiff.model.recipe import LayerRef, Recipe
from tests.layers import complete

ROOT = Path(__file__).resolve().parents[2]
SEARCH = Search(builtin=ROOT / "layers")

GOLDEN = {
    "qemu-amd64": (["virt/qemu"], Arch.AMD64),
    "qemu-docker-amd64": (["virt/qemu", "engine/docker"], Arch.AMD64),
    "qemu-docker-arm64": (["virt/qemu", "engine/docker"], Arch.ARM64),
    "qemu-cluster-amd64": (["virt/qemu", "apps/cluster"], Arch.AMD64),
    "qemu-armhf": (["virt/qemu"], Arch.ARMHF),
    "qemu-riscv64": (["virt/qemu"], Arch.RISCV64),
    "pc-uefi-amd64": (["pc/uefi"], Arch.AMD64),
    "odroid-c2-arm64": (["odroid/c2"], Arch.ARM64),
    "odroid-c4-arm64": (["odroid/c4"], Arch.ARM64),
    "odroid-hc4-arm64": (["odroid/hc4"], Arch.ARM64),
    "odroid-n2-arm64": (["odroid/n2"], Arch.ARM64),
    "odroid-n2l-arm64": (["odroid/n2l"], Arch.ARM64),
    "odroid-m1-arm64": (["odroid/m1"], Arch.ARM64),
    "odroid-u-armhf": (["odroid/u"], Arch.ARMHF),
    "odroid-xu-armhf": (["odroid/xu"], Arch.ARMHF),
    "pi-3-arm64": (["pi/3"], Arch.ARM64),
    "pi-4-arm64": (["pi/4"], Arch.ARM64),
    "odroid-h3-amd64": (["odroid/h3"], Arch.AMD64),
    "qemu-wifi-amd64": (["virt/qemu", "net/wifi"], Arch.AMD64),
    "qemu-podman-amd64": (["virt/qemu", "engine/podman"], Arch.AMD64),
    "qemu-podman-slim-amd64": (["virt/qemu", "engine/podman", "util/slim"], Arch.AMD64),
    "qemu-podman-slim-armhf": (["virt/qemu", "engine/podman", "util/slim"], Arch.ARMHF),
    "qemu-docker-core-amd64": (["virt/qemu", "engine/docker", "core/debian"], Arch.AMD64),
    "pi-4-podman-core-arm64": (["pi/4", "engine/podman", "core/debian"], Arch.ARM64),
}


def _text(recipe: Recipe) -> str:
    layers = tuple(LayerRef(ref.name, ref.path.relative_to(ROOT)) for ref in recipe.layers)
    plain = msgspec.to_builtins(
        msgspec.structs.replace(recipe, layers=layers), enc_hook=str, order="deterministic"
    )
    return msgspec.json.format(msgspec.json.encode(plain, order="deterministic")).decode() + "\n"


@pytest.mark.parametrize("name", GOLDEN)
def test_recipe_is_as_written_down(name: str, pytestconfig: pytest.Config) -> None:
    layers, arch = GOLDEN[name]
    text = _text(resolve(layers, arch, SEARCH))
    file = ROOT / "tests" / "golden" / f"{name}.json"
    if pytestconfig.getoption("--update-golden"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text(), "if the change is meant: make golden"


def test_every_layer_that_comes_along_can_be_read_and_resolved() -> None:
    for name, path in available(SEARCH).items():
        layer = load(LayerRef(name, path))
        arches = layer.file.arch or ("amd64",)
        for arch in arches:
            assert resolve(complete(name), Arch(arch), SEARCH).names[0] == "base"
