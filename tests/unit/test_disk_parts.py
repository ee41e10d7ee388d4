"""What layers say of a disk, and the pieces for it that come from elsewhere: kept, fetched, or refused."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from skiff.builders.debian.boot import boot_files, device_trees, loader_packages
from skiff.builders.debian.unpack import Index, Unpacked
from skiff.host.errors import UserError
from skiff.host.files import digest
from skiff.image.disk_pieces import find_files, find_input, find_pieces, wants_uboot
from skiff.model.arch import Arch
from skiff.model.layer import BootFile, LoadPart, RawPiece, UbootInput
from skiff.model.packages import Package
from skiff.model.recipe import Recipe
from tests.tool.fake_machine import small_image
from tests.tool.test_disk import add
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
    found = boot_files(tree.resolve("a/one"), unpacked, device_trees(unpacked, name), name)
    assert found["dtbs/rockchip/rk3568-odroid-m1.dtb"].read_bytes() == b"tree"
    with pytest.raises(UserError, match=r"no such device tree \(layer a/two\)") as error:
        boot_files(tree.resolve("a/two"), unpacked, device_trees(unpacked, name), name)
    assert "did you mean rockchip/rk3568-odroid-m1.dtb?" in error.value.hint


def test_uefi_brings_its_loader_where_there_is_one(tree: LayerTree) -> None:
    tree.add("a/one", '[disk.loader]\namd64 = "uefi"\narmhf = "uefi"\n[kernel.package]\narmhf = "k"')
    assert loader_packages(tree.resolve("a/one")) == ["systemd-boot-efi"]
    with pytest.raises(UserError, match="UEFI is not for armhf"):
        loader_packages(tree.resolve("a/one", arch=Arch.ARMHF))


def find(
    recipe: Recipe, tmp_path: Path, uboot: dict[str, Path] | None = None
) -> tuple[dict[str, bytes], list[str]]:
    notices: list[str] = []
    found = find_pieces(recipe, tmp_path / "cache", notices.append, tmp_path / "blobs", uboot)
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


def own_blob(tmp_path: Path, name: str, data: bytes) -> Path:
    path = tmp_path / "blobs" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def test_the_user_s_own_file_goes_first_and_is_checked(tree: LayerTree, tmp_path: Path) -> None:
    url = "http://127.0.0.1:1/blob"
    piece = RawPiece("spl", 1, url=url, sha256=digest(b"mine"), blob="spl.bin", optional=True)
    recipe = msgspec.structs.replace(tree.resolve(), raw=(piece,))
    found, notices = find(recipe, tmp_path)
    assert found == {} and f"put the file at {tmp_path}/blobs/spl.bin" in notices[0]
    own_blob(tmp_path, "spl.bin", b"mine")
    assert find(recipe, tmp_path) == ({"spl": b"mine"}, [])
    own_blob(tmp_path, "spl.bin", b"other")
    with pytest.raises(UserError, match=r"blobs/spl\.bin: wrong checksum"):
        find(recipe, tmp_path)


def test_one_line_tells_all_that_is_missing(tree: LayerTree, tmp_path: Path) -> None:
    pieces = (
        RawPiece("head", 0, length=4, blob="signed.bin", optional=True),
        RawPiece("rest", 1, skip=4, blob="signed.bin", optional=True),
        RawPiece("last", 9, blob="last.bin", optional=True),
    )
    recipe = msgspec.structs.replace(tree.resolve(), raw=pieces, origins={"raw[head]": "odroid/c4"})
    found, notices = find(recipe, tmp_path)
    assert found == {} and len(notices) == 1
    assert "without head, rest, last:" in notices[0] and "README.md of layer odroid/c4" in notices[0]
    assert notices[0].count("signed.bin is not there") == 1 and "last.bin is not there" in notices[0]
    own_blob(tmp_path, "signed.bin", b"headrest")
    own_blob(tmp_path, "last.bin", b"end")
    assert find(recipe, tmp_path) == ({"head": b"head", "rest": b"rest", "last": b"end"}, [])


def test_a_piece_that_u_boot_s_compilation_gives(tree: LayerTree, tmp_path: Path) -> None:
    piece = RawPiece("u-boot", 63, uboot="u-boot.bin", blob="own.bin")
    text = '[uboot]\ndefconfig = "board"\n'
    tree.add("a/one", text)
    recipe = msgspec.structs.replace(tree.resolve("a/one"), raw=(piece,))
    blobs = tmp_path / "blobs"
    assert wants_uboot(recipe, blobs)
    made = tmp_path / "made"
    made.write_bytes(b"compiled")
    assert find(recipe, tmp_path, {"u-boot.bin": made}) == ({"u-boot": b"compiled"}, [])
    with pytest.raises(UserError, match=r"U-Boot gives no file u-boot\.bin"):
        find(recipe, tmp_path, {"other": made})
    # It could not be compiled, and that was told.
    assert find(recipe, tmp_path, None) == ({}, [])
    own_blob(tmp_path, "own.bin", b"mine")
    assert not wants_uboot(recipe, blobs)
    assert find(recipe, tmp_path) == ({"u-boot": b"mine"}, [])


def test_u_boot_is_compiled_for_what_the_user_makes_of_it(tree: LayerTree, tmp_path: Path) -> None:
    signed = RawPiece("signed", 1, blob="signed.bin", optional=True)
    tree.add("a/one", '[uboot]\ndefconfig = "board"\n')
    recipe = msgspec.structs.replace(tree.resolve("a/one"), raw=(signed,))
    assert wants_uboot(recipe, tmp_path / "blobs")
    own_blob(tmp_path, "signed.bin", b"signed")
    assert not wants_uboot(recipe, tmp_path / "blobs")
    fetched = RawPiece("bl1", 1, url="http://127.0.0.1:1/bl1", sha256="0" * 64)
    assert not wants_uboot(msgspec.structs.replace(recipe, raw=(fetched,)), tmp_path / "blobs")
    assert not wants_uboot(msgspec.structs.replace(recipe, uboot_defconfig=""), tmp_path / "empty")


def test_a_file_that_u_boot_needs(tmp_path: Path) -> None:
    notices: list[str] = []
    item = UbootInput("TPL", url="http://127.0.0.1:1/tpl", sha256=digest(b"ddr"), blob="ddr.bin")
    where = (tmp_path / "cache", tmp_path / "blobs", notices.append)
    assert find_input(item, *where) is None
    assert len(notices) == 1 and f"put the file at {tmp_path}/blobs/ddr.bin" in notices[0]
    own = own_blob(tmp_path, "ddr.bin", b"ddr")
    assert find_input(item, *where) == own and len(notices) == 1
    own.write_bytes(b"other")
    with pytest.raises(UserError, match="wrong checksum"):
        find_input(item, *where)


def test_later_layers_overrule_u_boot_s_part(tree: LayerTree) -> None:
    tree.add(
        "a/one",
        '[uboot]\ndefconfig = "one"\ntarget = "all"\nfiles = ["u-boot.bin"]\n'
        '[[uboot.input]]\nname = "BL31"\npackage = "x"\npath = "a"\n',
    )
    tree.add(
        "a/two",
        '[uboot]\ndefconfig = "two"\n[[uboot.input]]\nname = "BL31"\npackage = "y"\npath = "b"\n',
    )
    recipe = tree.resolve("a/one", "a/two")
    assert (recipe.uboot_defconfig, recipe.uboot_target, recipe.uboot_files) == (
        "two",
        "all",
        ("u-boot.bin",),
    )
    assert recipe.uboot_inputs == (UbootInput("BL31", package="y", path="b"),)
    assert recipe.origins["uboot_inputs[BL31]"] == "a/two" and recipe.origins["uboot_target"] == "a/one"


def further_files(recipe: Recipe, folder: Path, uboot: dict[str, Path] | None = None) -> dict[str, Path]:
    image = add(small_image(folder / "image"), "dtbs/v/one.dtb", b"a tree", folder / "image")

    def from_package(file: BootFile) -> Path:
        assert (file.package, file.path) == ("firmware", "usr/start.elf")
        return image.artefact("kernel").path

    return find_files(recipe, image, uboot, from_package)


def test_further_files_of_the_boot_partition(tree: LayerTree, tmp_path: Path) -> None:
    text = "".join(
        f'[[disk.files]]\nname = "{name}"\n{source}\n'
        for name, source in {
            "config.txt": 'file = "config.txt"',
            "start.elf": 'package = "firmware"\npath = "usr/start.elf"',
            "u-boot.bin": 'uboot = "u-boot.bin"',
            "one.dtb": 'dtb = "v/one.dtb"',
        }.items()
    )
    layer = tree.add("a/one", text)
    recipe = tree.resolve("a/one")
    assert recipe.origins["boot_files[one.dtb]"] == "a/one"
    made = tmp_path / "made"
    made.write_bytes(b"compiled")
    with pytest.raises(UserError, match=r"disk\.files: config\.txt \(layer a/one\): no file"):
        further_files(recipe, tmp_path, {"u-boot.bin": made})
    (layer.path / "config.txt").write_bytes(b"settings")
    found = further_files(recipe, tmp_path, {"u-boot.bin": made})
    assert {name: path.read_bytes() for name, path in found.items()} == {
        "config.txt": b"settings",
        "start.elf": b"a kernel",
        "u-boot.bin": b"compiled",
        "one.dtb": b"a tree",
    }
    with pytest.raises(UserError, match=r"u-boot\.bin"):
        further_files(recipe, tmp_path, {})
    other = msgspec.structs.replace(recipe, boot_files=(BootFile("two.dtb", dtb="v/two.dtb"),))
    with pytest.raises(UserError, match=r"two\.dtb"):
        further_files(other, tmp_path)


def test_u_boot_is_compiled_for_a_file_of_the_boot_partition(tree: LayerTree, tmp_path: Path) -> None:
    file = '[[disk.files]]\nname = "u-boot.bin"\nuboot = "u-boot.bin"\n'
    tree.add("a/one", f'[uboot]\ndefconfig = "board"\n{file}')
    assert wants_uboot(tree.resolve("a/one"), tmp_path)
