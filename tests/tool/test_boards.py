"""Layers of boards: where each piece of a disk image lies, read with other programs than wrote it."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from skiff import pipeline
from skiff.host.errors import UserError
from skiff.host.run import run
from skiff.host.ui import Ui
from skiff.image.assemble import disk_plan
from skiff.image.disk import write_disk
from skiff.layers import Search, resolve
from skiff.model.arch import Arch
from skiff.model.image import Image
from skiff.model.recipe import Recipe
from skiff.model.workspace import Workspace
from tests.tool.fake_machine import small_image
from tests.tool.test_disk import add, unpack

SEARCH = Search(builtin=Path(__file__).resolve().parents[2] / "layers")
MIB = 1 << 20

# Layer → CPU, partition table, and bytes of pieces: first byte, and most bytes that there is room for.
# Sources of the numbers: the README.md of each layer.
AMLOGIC = {"first-stage-head": (0, 440), "first-stage": (512, 16 * MIB - 512)}
EXYNOS = {"bl1": (512, 15360), "bl2": (15872, 14848), "u-boot": (32256, MIB)}
BOARDS: dict[str, tuple[Arch, str, dict[str, tuple[int, int]]]] = {
    "odroid/c2": (Arch.ARM64, "dos", AMLOGIC),
    "odroid/c4": (Arch.ARM64, "dos", AMLOGIC),
    "odroid/hc4": (Arch.ARM64, "dos", AMLOGIC),
    "odroid/n2": (Arch.ARM64, "dos", AMLOGIC),
    "odroid/n2l": (Arch.ARM64, "dos", AMLOGIC),
    "odroid/m1": (Arch.ARM64, "gpt", {"u-boot": (32768, 16 * MIB - 32768)}),
    "odroid/u": (Arch.ARMHF, "dos", {**EXYNOS, "tzsw": (1080832, 159744)}),
    "pi/3": (Arch.ARM64, "dos", {}),
    "pi/4": (Arch.ARM64, "dos", {}),
    "odroid/xu": (Arch.ARMHF, "dos", {**EXYNOS, "tzsw": (1080832, 262144)}),
}


def recipe_of(layer: str) -> Recipe:
    return resolve([layer], BOARDS[layer][0], SEARCH)


def image_of(recipe: Recipe, folder: Path) -> Image:
    """An image with this recipe's plan, and a few bytes for everything else."""
    image = small_image(folder, arch=recipe.arch)
    image = msgspec.structs.replace(image, disk=disk_plan(recipe), cmdline=recipe.cmdline)
    if recipe.arch is Arch.ARM64:
        # Header of an arm64 Image: size in memory at byte 16, magic at byte 56.
        kernel = bytearray(MIB)
        kernel[16:24] = (40 * MIB).to_bytes(8, "little")
        kernel[56:60] = b"ARM\x64"
        image = add(image, "kernel", bytes(kernel), folder)
    for name in recipe.dtbs:
        image = add(image, f"dtbs/{name}", name.encode(), folder)
    return image


def noise(name: str, length: int) -> bytes:
    return (f"{name} ".encode() * (length // len(name) + 1))[:length]


def disk_of(layer: str, tmp_path: Path, sizes: dict[str, int]) -> Path:
    """The disk image, unpacked, with pieces of these sizes."""
    recipe = recipe_of(layer)
    pieces = {}
    for name, size in sizes.items():
        pieces[name] = tmp_path / name
        pieces[name].write_bytes(noise(name, size))
    image = image_of(recipe, tmp_path / "image")
    # A small boot partition takes less time; where it begins is the layer's.
    assert image.disk is not None and image.disk.size == 512
    image = msgspec.structs.replace(image, disk=msgspec.structs.replace(image.disk, size=64))
    beside = {}
    for number, file in enumerate(recipe.boot_files):
        beside[file.name] = tmp_path / f"beside{number}"
        beside[file.name].write_bytes(noise(file.name, 100))
    made, _ = write_disk(tmp_path / "disk", image, pieces, tmp_path / "cache", lambda _: None, beside)
    return unpack(made, tmp_path / "card")


@pytest.mark.parametrize("layer", BOARDS)
def test_every_piece_has_its_place(layer: str, tmp_path: Path) -> None:
    _, label, places = BOARDS[layer]
    card = disk_of(layer, tmp_path, {name: room for name, (_, room) in places.items()})
    table = json.loads(run(["sfdisk", "--json", card]).stdout)["partitiontable"]
    assert table["label"] == label
    boot, spare = table["partitions"]
    assert boot["start"] == 32768 and spare["start"] == 79 * 2048
    assert all(
        one["attrs"] == "LegacyBIOSBootable" if label == "gpt" else one["bootable"] for one in (boot, spare)
    )
    run(["mtype", "-i", f"{card}@@{79 * 2**20}", "::/boot.scr"])
    with card.open("rb") as file:
        for name, (start, room) in places.items():
            file.seek(start)
            assert file.read(room) == noise(name, room), name
    check_boot_partition(card, recipe_of(layer), tmp_path)


def check_boot_partition(card: Path, recipe: Recipe, tmp_path: Path) -> None:
    """Every device tree is there, and the scripts are such that start this board."""
    where = f"{card}@@{16 * MIB}"
    for name in recipe.dtbs:
        assert run(["mtype", "-i", where, f"::/a/dtbs/{name}"]).stdout == name.encode()
    for file in recipe.boot_files:
        assert run(["mtype", "-i", where, f"::/{file.name}"]).stdout == noise(file.name, 100)
    for name in ("boot.scr", "a/boot.scr"):
        run(["mcopy", "-n", "-i", where, f"::/{name}", tmp_path / "script"])
        assert b"Script" in run(["dumpimage", "-l", tmp_path / "script"]).stdout
    text = (tmp_path / "script").read_bytes().decode(errors="replace")
    assert ("bootz" if recipe.arch is Arch.ARMHF else "booti") in text
    assert f"setenv ramdisk_addr_r {recipe.load.initramfs:#x}" in text
    # With one device tree its name is settled; with several U-Boot knows the board.
    assert (f"setenv fdtfile {recipe.dtbs[0]}" in text) is (len(recipe.dtbs) == 1)


@pytest.mark.parametrize("layer", BOARDS)
def test_a_piece_that_is_too_large_is_refused(layer: str, tmp_path: Path) -> None:
    # What lies before the partition table, and what is cut to its length, cannot grow.
    cut = {piece.name for piece in recipe_of(layer).raw if piece.length}
    for name, (_, room) in BOARDS[layer][2].items():
        if name not in cut:
            with pytest.raises(UserError, match=name):
                disk_of(layer, tmp_path, {name: room + 513})


@pytest.mark.parametrize("layer", BOARDS)
def test_an_initramfs_beyond_the_smallest_memory_is_refused(layer: str, tmp_path: Path) -> None:
    recipe = recipe_of(layer)
    image = image_of(recipe, tmp_path / "image")
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(recipe.load.end - recipe.load.initramfs + 1)
    artefacts = tuple(
        msgspec.structs.replace(item, path=large, bytes=large.stat().st_size)
        if item.name == "initramfs"
        else item
        for item in image.artefacts
    )
    assert image.disk is not None
    plan = msgspec.structs.replace(image.disk, size=4096)
    image = msgspec.structs.replace(image, artefacts=artefacts, disk=plan)
    with pytest.raises(UserError, match="above the limit"):
        write_disk(tmp_path / "disk", image, {}, tmp_path / "cache", lambda _: None)


@pytest.mark.parametrize("layer", BOARDS)
def test_an_image_larger_than_its_slot_is_refused(
    layer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(layer)
    image = image_of(recipe, tmp_path / "image")
    assert image.disk is not None
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(254 * MIB)
    image = msgspec.structs.replace(
        image,
        artefacts=tuple(
            msgspec.structs.replace(item, path=path, bytes=254 * MIB) if item.name == "initramfs" else item
            for item in image.artefacts
        ),
    )
    with pytest.raises(UserError, match="a slot of the boot partition has"):
        write_disk(tmp_path / "disk", image, {}, tmp_path / "cache", lambda _: None)
    # And before U-Boot is compiled for it.
    monkeypatch.setattr(pipeline, "_uboot", lambda *_: pytest.fail("compiled"))
    workspace, options = Workspace("one", tmp_path / "one"), pipeline.Options()
    with pytest.raises(UserError, match="a slot of the boot partition has"):
        pipeline.disk(recipe, image, workspace, tmp_path / "cache", options, Ui(quiet=True))


def test_boards_of_two_cpus_are_refused() -> None:
    with pytest.raises(UserError) as caught:
        resolve(["odroid/c4", "odroid/xu"], None, SEARCH)
    assert "odroid/c4" in caught.value.message and "odroid/xu" in caught.value.message
    with pytest.raises(UserError, match="arm64"):
        resolve(["odroid/c4"], Arch.AMD64, SEARCH)


@pytest.mark.parametrize(
    "pair", [("odroid/c4", "odroid/m1"), ("odroid/u", "odroid/xu"), ("odroid/c4", "odroid/n2")]
)
def test_two_boards_in_one_recipe_are_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(UserError, match=r"odroid/\w+ .*odroid/\w+"):
        resolve(pair, None, SEARCH)


@pytest.mark.parametrize("layer", ["pi/3", "pi/4"])
def test_a_raspberry_pi_starts_from_files(layer: str) -> None:
    recipe = recipe_of(layer)
    names = {file.name for file in recipe.boot_files}
    # The firmware looks for the kernel's names of device trees at the top.
    assert names >= {"config.txt", "u-boot.bin", *(Path(name).name for name in recipe.dtbs)}
    assert all(file.dtb in recipe.dtbs for file in recipe.boot_files if file.dtb)
    config = next(ref.path for ref in recipe.layers if ref.name == "pi/common") / "config.txt"
    assert "kernel=u-boot.bin" in config.read_text().splitlines()
