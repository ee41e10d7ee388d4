"""A disk image of a small made-up image, read with other programs than those that wrote it."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from pathlib import Path

import msgspec
import pytest

from skiff.host.errors import UserError
from skiff.host.files import digest, file_digest
from skiff.host.json import encode
from skiff.host.run import CommandError, run
from skiff.image.assemble import load
from skiff.image.boot_kernel import BootKernel
from skiff.image.boot_uboot import STATE_SECTOR, starter
from skiff.image.disk import load_disk, write_disk
from skiff.model.arch import Arch
from skiff.model.disk import MIB, DiskImage, DiskPlan
from skiff.model.image import Artefact, Image
from skiff.model.layer import LoadPart, RawPiece
from tests.tool.fake_machine import small_image

# 2026-11-20, a Friday.
EPOCH = 1795132800
UEFI = DiskPlan("gpt", 16, 64, "uefi")
UBOOT = DiskPlan("dos", 4, 64, "uboot", dtbs=("v/one.dtb",), raw=(RawPiece("spl", 1),))


def add(image: Image, name: str, data: bytes, folder: Path) -> Image:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    others = tuple(item for item in image.artefacts if item.name != name)
    new = Artefact(name, path, len(data), file_digest(path))
    return msgspec.structs.replace(image, artefacts=(*others, new))


def make_image(folder: Path, plan: DiskPlan) -> Image:
    arch = Arch.AMD64 if plan.loader == "uefi" else Arch.ARM64
    image = msgspec.structs.replace(small_image(folder, arch=arch), epoch=EPOCH, disk=plan, board="virt/qemu")
    if plan.loader == "uefi":
        return add(image, "boot/BOOTX64.EFI", b"a loader", folder)
    # Header of an arm64 Image: size in memory at byte 16, magic at byte 56.
    kernel = bytearray(5 * MIB)
    kernel[16:24] = (6 * MIB).to_bytes(8, "little")
    kernel[56:60] = b"ARM\x64"
    return add(add(image, "kernel", bytes(kernel), folder), "dtbs/v/one.dtb", b"a tree", folder)


def write(tmp_path: Path, plan: DiskPlan, name: str = "ws") -> DiskImage:
    pieces = {"spl": tmp_path / "spl"} if plan.raw else {}
    for path in pieces.values():
        path.write_bytes(b"first stage" * 100)
    image = make_image(tmp_path / name / "image", plan)
    made, new = write_disk(tmp_path / name / "disk", image, pieces, tmp_path / "cache", lambda _: None)
    assert new
    return made


def unpack(made: DiskImage, target: Path) -> Path:
    run(["zstd", "-dq", "--sparse", "-f", made.packed.path, "-o", target])
    return target


def inside(disk: Path, start: int, name: str) -> bytes:
    return run(["mtype", "-i", f"{disk}@@{start * MIB}", f"::/{name}"]).stdout


def partitions(disk: Path) -> list[dict[str, object]]:
    table = json.loads(run(["sfdisk", "--json", disk]).stdout)["partitiontable"]
    return [{"label": table["label"], **partition} for partition in table["partitions"]]


def check_manifest(disk: Path, start: int, names: list[str], *lines: str) -> None:
    """The manifest of slot a tells of exactly these files, and what it says of them is true."""
    told = inside(disk, start, "a/manifest").decode().splitlines()
    assert told[0] == "skiff-slot 1" and {"board virt/qemu", "version 1795132800", *lines} <= set(told)
    files = [line.split(" ", 3)[1:] for line in told if line.startswith("file ")]
    assert [name for _, _, name in files] == names
    for sum_, size, name in files:
        data = inside(disk, start, f"a/{name}")
        assert (digest(data), len(data)) == (sum_, int(size)), name


def test_a_disk_for_uefi(tmp_path: Path) -> None:
    disk = unpack(write(tmp_path, UEFI), tmp_path / "disk")
    (found,) = partitions(disk)
    assert (found["label"], found["name"], found["start"], found["size"]) == (
        "gpt",
        "SKIFFBOOT",
        32768,
        131072 - 34,
    )
    # Type of an EFI system partition (UEFI specification, 5.3.3).
    assert found["type"] == "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
    run(["sfdisk", "--verify", disk])
    assert inside(disk, 16, "a/kernel") == b"a kernel"
    assert inside(disk, 16, "a/initramfs") == b"an initramfs"
    assert inside(disk, 16, "EFI/BOOT/BOOTX64.EFI") == b"a loader"
    entry = inside(disk, 16, "loader/entries/skiff-a.conf").decode()
    assert "linux /a/kernel\ninitrd /a/initramfs\n" in entry
    assert "version 1\n" in entry
    assert "options console=ttyS0 panic=10 skiff.slot=a\n" in entry
    check_manifest(disk, 16, ["initramfs", "kernel"], "loader uefi")
    listing = run(["mdir", "-i", f"{disk}@@{16 * MIB}", "::/a"], env={"TZ": "UTC"}).stdout.decode()
    assert "2026-11-20" in listing
    # How the device knows the disk that it was started from (persist-find.sh).
    with disk.open("rb") as file:
        file.seek(16 * MIB)
        assert b"SKIFFBOOT  FAT32" in file.read(512)


def test_a_disk_for_u_boot(tmp_path: Path) -> None:
    disk = unpack(write(tmp_path, UBOOT), tmp_path / "disk")
    found, spare = partitions(disk)
    assert (found["label"], found["type"], found["start"], found["bootable"]) == ("dos", "c", 8192, True)
    # Its script is that of the boot partition; U-Boot looks at partitions that are marked.
    assert (spare["type"], spare["start"], spare["size"], spare["bootable"]) == ("1", 137216, 2048, True)
    assert inside(disk, 67, "boot.scr") == inside(disk, 4, "boot.scr")
    assert disk.read_bytes()[512 : 512 + 1100] == b"first stage" * 100
    assert len(gzip.decompress(inside(disk, 4, "a/kernel"))) == 5 * MIB
    assert inside(disk, 4, "a/dtbs/v/one.dtb") == b"a tree"
    check_manifest(disk, 4, ["boot.scr", "dtbs/v/one.dtb", "initramfs", "kernel"], "loader uboot")
    for name in ("boot.scr", "a/boot.scr"):
        script = tmp_path / "script"
        script.write_bytes(inside(disk, 4, name))
        text = run(["dumpimage", "-l", script], env={"TZ": "UTC"}).stdout.decode()
        assert "AArch64 Linux Script" in text and "Fri Nov 20 00:00:00 2026" in text
    with disk.open("rb") as file:
        file.seek(4 * MIB + STATE_SECTOR * 512)
        assert file.read(10) == b"SKIFFST1a\xff"


def test_checksum_and_block_map_are_right(tmp_path: Path) -> None:
    made = write(tmp_path, UBOOT)
    run(["sha256sum", "-c", made.checksum.path], cwd=made.checksum.path.parent)
    run(["zstd", "-tq", made.packed.path])
    card = tmp_path / "card"
    run(["bmaptool", "-q", "copy", "--bmap", made.block_map.path, made.packed.path, card])
    assert file_digest(card) == made.sha256


def test_what_the_block_map_leaves_out_does_not_matter(tmp_path: Path) -> None:
    made = write(tmp_path, UBOOT)
    plain, card = unpack(made, tmp_path / "disk"), tmp_path / "card"
    card.write_bytes(b"\xff" * made.bytes)
    ranges = re.findall(r"<Range .*> (\d+)(?:-(\d+))? </Range>", made.block_map.path.read_text())
    with plain.open("rb") as source, card.open("r+b") as target:
        for first, last in ranges:
            source.seek(int(first) * 4096)
            target.seek(int(first) * 4096)
            target.write(source.read((int(last or first) + 1 - int(first)) * 4096))
    assert partitions(card)[0]["start"] == 8192
    assert inside(card, 4, "a/initramfs") == b"an initramfs"
    listing = run(["mdir", "-b", "-/", "-i", f"{card}@@{4 * MIB}", "::"]).stdout
    assert listing == run(["mdir", "-b", "-/", "-i", f"{plain}@@{4 * MIB}", "::"]).stdout
    assert made.mapped < made.bytes


def test_a_wrong_byte_is_noticed_by_the_block_map(tmp_path: Path) -> None:
    made = write(tmp_path, UEFI)
    plain = unpack(made, tmp_path / "disk")
    with plain.open("r+b") as file:
        file.seek(16 * MIB + 3)
        file.write(b"!")
    with pytest.raises(CommandError, match="checksum"):
        run(["bmaptool", "-q", "copy", "--bmap", made.block_map.path, plain, tmp_path / "card"])


def test_the_same_image_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = write(tmp_path, UBOOT, "one"), write(tmp_path, UBOOT, "two")
    assert [file.sha256 for file in one.files] == [file.sha256 for file in two.files]


def test_nothing_is_done_twice(tmp_path: Path) -> None:
    made = write(tmp_path, UEFI)
    image = make_image(tmp_path / "ws" / "image", UEFI)
    target, cache = tmp_path / "ws" / "disk", tmp_path / "cache"
    assert write_disk(target, image, {}, cache, lambda _: None) == (made, False)
    made.packed.path.write_bytes(b"cut off")
    assert load_disk(target) is None
    assert write_disk(target, image, {}, cache, lambda _: None) == (made, True)


def test_a_copy_of_a_workspace_has_images_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, UEFI, "one")
    image = make_image(tmp_path / "one/image", UEFI)
    (tmp_path / "one/image/image.json").write_bytes(encode(image))
    copy = shutil.copytree(tmp_path / "one", tmp_path / "two")
    loaded, made = load(copy / "image"), load_disk(copy / "disk")
    assert loaded and made
    sums = [(item.path, item.sha256) for item in loaded.artefacts]
    for path, sha256 in (*sums, *((item.path, item.sha256) for item in made.files)):
        assert path.is_relative_to(copy) and file_digest(path) == sha256
    shutil.rmtree(tmp_path / "one")
    assert (load(copy / "image"), load_disk(copy / "disk")) == (loaded, made)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"loader": ""}, "no bootloader for arm64"),
        ({"load": LoadPart(kernel=MIB, initramfs=2 * MIB)}, "would run into initramfs"),
        ({"raw": (RawPiece("spl", 0),)}, "runs into"),
    ],
)
def test_a_refusal_leaves_nothing_half_made(tmp_path: Path, change: dict[str, object], says: str) -> None:
    plan = msgspec.structs.replace(UBOOT, **change)
    with pytest.raises(UserError, match=says):
        write(tmp_path, plan)
    assert [path.name for path in (tmp_path / "ws").iterdir()] == ["image"]


def test_an_interruption_keeps_the_old_one(tmp_path: Path) -> None:
    made = write(tmp_path, UEFI)
    image = add(make_image(tmp_path / "ws" / "image", UEFI), "initramfs", b"other", tmp_path / "ws" / "image")

    def interrupt(step: str) -> None:
        if step == "compress":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_disk(tmp_path / "ws" / "disk", image, {}, tmp_path / "cache", interrupt)
    assert load_disk(tmp_path / "ws" / "disk") == made
    assert sorted(path.name for path in (tmp_path / "ws").iterdir()) == ["disk", "image"]


# Commands of U-Boot as functions of a shell; its memory is a file that begins at 0x20000.
COMMANDS = """set -f
setenv() { eval "$1=\\$2"; }
setexpr() { eval "$1=$(($2 $3 $4))"; }
itest() { [ "$(od -An -tu$1 -j $((${2#?} - 0x20000)) -N $1 "$MEMORY")" -eq $(($4)) ]; }
skiff_where=0x20000 skiff_slot=0x20008
"""


@pytest.mark.parametrize(
    ("state", "slot", "told"),
    [
        (b"SKIFFST1b\x02t", "b", True),
        # The last one.
        (b"SKIFFST1b\0t", "b", True),
        # No tries left, or it could not be loaded: the other one is no trial.
        (b"SKIFFST1b\0t", "a", False),
        (b"SKIFFST1a\x02t", "b", False),
        (b"SKIFFST1a\x02t", "a", True),
        (b"SKIFFST1a\x05g", "a", False),
        # No state: what is in memory means nothing.
        (b"\0\0\0\0\0\0\0\0a\x02t", "a", False),
    ],
)
def test_uboot_tells_the_device_of_its_trial(tmp_path: Path, state: bytes, slot: str, told: bool) -> None:
    file = tmp_path / "file"
    file.write_bytes(state.ljust(512, b"\0"))
    plan = DiskPlan("gpt", 16, 512, "uboot")
    text = starter(plan, Arch.ARM64, BootKernel(file, False, 1000), file, ["quiet"])
    begin = re.sub(
        r"itest\.(.)",
        lambda size: f"itest {4 if size[1] == 'l' else 1}",
        text.partition("setenv initrd_high")[0],
    )
    done = run(
        ["sh", "-c", f'{COMMANDS}{begin}echo "$bootargs"'], env={"skiff_try": slot, "MEMORY": str(file)}
    )
    assert done.stdout.decode() == f"quiet skiff.slot={slot}{' skiff.trial' if told else ''}\n"
