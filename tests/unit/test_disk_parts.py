"""What layers say of a disk, and the pieces for it that come from elsewhere: kept, fetched, or refused."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from skiff.builders.debian.boot import boot_files, loader_packages
from skiff.builders.debian.unpack import Index, Unpacked
from skiff.host.errors import UserError
from skiff.host.files import digest
from skiff.image.disk_pieces import find_pieces
from skiff.model.arch import Arch
from skiff.model.layer import LoadPart, RawPiece
from skiff.model.packages import Package
from skiff.model.recipe import Recipe
from tests.unit.layer_tree import LayerTree


def test_a_later_layer_overrules_the_disk_key_by_key(tree: LayerTree) -> None:
    tree.add(
        "a/one",
        '[disk]\ntable = "dos"\nsize = 256\ndtbs = ["x.dtb"]\n'
        '[disk.loader]\namd64 = "uefi"\narm64 = "uboot"\n[disk.load.arm64]\nkernel = 0x400000\n'
        '[[disk.raw]]\nname = "spl"\nsector = 1\n',
    )
    tree.add("a/two", '[disk]\nsize = 1024\ndtbs = ["y.dtb"]\n[[disk.raw]]\nname = "spl"\nsector = 64\n')
    recipe = tree.resolve("a/one", "a/two", arch=Arch.ARM64)
    assert (recipe.disk_table, recipe.disk_start, recipe.disk_size) == ("dos", 16, 1024)
    assert (recipe.loader, recipe.load, recipe.dtbs) == (
        "uboot",
        LoadPart(kernel=0x400000),
        ("x.dtb", "y.dtb"),
    )
    assert recipe.raw == (RawPiece("spl", 64),)
    assert recipe.origins["raw[spl]"] == "a/two" and recipe.origins["loader"] == "a/one"
    assert tree.resolve("a/one").load == LoadPart()


def test_words_for_one_cpu_join_the_others(tree: LayerTree) -> None:
    tree.add("a/one", '[kernel]\ncmdline = ["quiet"]\n[kernel.cmdline_for]\narm64 = ["console=ttyAMA0"]')
    assert tree.resolve("a/one", arch=Arch.ARM64).cmdline == ("quiet", "console=ttyAMA0")
    assert tree.resolve("a/one").cmdline == ("quiet",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[disk]\ntable = "mbr"', "disk.table: not an allowed value"),
        ('[disk.loader]\namd64 = "grub"', "not an allowed value"),
        ('[disk.loader]\nsparc = "uefi"', "disk.loader: unknown CPU 'sparc'"),
        ("[disk.load.amd64]\nkernal = 1", "unknown key"),
    ],
)
def test_mistakes_in_the_disk_part(tree: LayerTree, text: str, says: str) -> None:
    tree.add("a/one", text)
    assert says in tree.error("a/one")[0]


def kernel_package(root: Path) -> Unpacked:
    folder = root / "files/usr/lib/linux-image-6.1-x/rockchip"
    folder.mkdir(parents=True)
    (folder / "rk3568-odroid-m1.dtb").write_bytes(b"tree")
    package = Package("linux-image-6.1-x", "1", "arm64", "0", 1, "main", "x.deb")
    return Unpacked(package, root, Index((), ()))


def test_device_trees_come_from_the_kernel_package(tree: LayerTree, tmp_path: Path) -> None:
    tree.add("a/one", '[disk]\ndtbs = ["rockchip/rk3568-odroid-m1.dtb"]')
    tree.add("a/two", '[disk]\ndtbs = ["rk3568-odroid-m1.dtb"]')
    unpacked = [kernel_package(tmp_path / "package")]
    name = "linux-image-6.1-x"
    found = boot_files(tree.resolve("a/one"), unpacked, name)
    assert found["dtbs/rockchip/rk3568-odroid-m1.dtb"].read_bytes() == b"tree"
    with pytest.raises(UserError, match=r"no such device tree \(layer a/two\)") as error:
        boot_files(tree.resolve("a/two"), unpacked, name)
    assert "did you mean rockchip/rk3568-odroid-m1.dtb?" in error.value.hint


def test_uefi_brings_its_loader_where_there_is_one(tree: LayerTree) -> None:
    tree.add("a/one", '[disk.loader]\namd64 = "uefi"\narmhf = "uefi"\n[kernel.package]\narmhf = "k"')
    assert loader_packages(tree.resolve("a/one")) == ["systemd-boot-efi"]
    with pytest.raises(UserError, match="UEFI is not for armhf"):
        loader_packages(tree.resolve("a/one", arch=Arch.ARMHF))


def find(recipe: Recipe, tmp_path: Path) -> tuple[dict[str, bytes], list[str]]:
    notices: list[str] = []
    found = find_pieces(recipe, tmp_path / "cache", notices.append, tmp_path / "blobs", {})
    return {name: path.read_bytes() for name, path in found.items()}, notices


def test_a_piece_is_cut_from_a_file_of_its_layer(tree: LayerTree, tmp_path: Path) -> None:
    text = '[[disk.raw]]\nname = "one"\nsector = 0\nfile = "blob"\nlength = 4\n'
    text += '[[disk.raw]]\nname = "two"\nsector = 1\nfile = "blob"\nskip = 4\n'
    (tree.add("a/one", text).path / "blob").write_bytes(b"headtail")
    assert find(tree.resolve("a/one"), tmp_path) == ({"one": b"head", "two": b"tail"}, [])


def test_a_missing_piece_is_refused_unless_it_is_optional(tree: LayerTree, tmp_path: Path) -> None:
    tree.add("a/one", '[[disk.raw]]\nname = "spl"\nsector = 1\nfile = "blob"\noptional = true\n')
    recipe = tree.resolve("a/one")
    found, notices = find(recipe, tmp_path)
    assert found == {} and len(notices) == 1
    assert "a/one/blob" in notices[0] and "put it there" in notices[0]
    needed = msgspec.structs.replace(recipe, raw=(msgspec.structs.replace(recipe.raw[0], optional=False),))
    with pytest.raises(UserError, match=r"raw piece spl \(layer a/one\): no file"):
        find(needed, tmp_path)


def test_a_fetched_piece_is_checked_and_kept(tree: LayerTree, tmp_path: Path) -> None:
    source = tmp_path / "blob"
    source.write_bytes(b"vendor's")
    piece = RawPiece("spl", 1, url=source.as_uri(), sha256=digest(b"vendor's"), optional=True)
    recipe = msgspec.structs.replace(tree.resolve(), raw=(piece,))
    assert find(recipe, tmp_path) == ({"spl": b"vendor's"}, [])
    # From the cache: its source may be gone.
    source.unlink()
    assert find(recipe, tmp_path) == ({"spl": b"vendor's"}, [])


def test_a_wrong_checksum_is_refused_even_when_optional(tree: LayerTree, tmp_path: Path) -> None:
    source = tmp_path / "blob"
    source.write_bytes(b"other")
    piece = RawPiece("spl", 1, url=source.as_uri(), sha256="0" * 64, optional=True)
    with pytest.raises(UserError, match="wrong checksum"):
        find(msgspec.structs.replace(tree.resolve(), raw=(piece,)), tmp_path)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_no_network_is_one_line(tree: LayerTree, tmp_path: Path) -> None:
    piece = RawPiece("spl", 1, url="http://127.0.0.1:1/blob", sha256="0" * 64, optional=True)
    found, notices = find(msgspec.structs.replace(tree.resolve(), raw=(piece,)), tmp_path)
    assert found == {} and "cannot be fetched" in notices[0] and "or put the file at" in notices[0]
    assert "\n" not in notices[0]
