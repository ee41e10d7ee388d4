"""Layers of boards: a disk image with real device trees, and what its boot partition holds is started."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen, TimeoutExpired

import msgspec
import pytest

from skiff import pipeline
from skiff.host.dirs import builtin_layers
from skiff.host.files import file_digest
from skiff.host.ports import free_port
from skiff.host.run import CommandError, run, spawn
from skiff.host.ui import Ui
from skiff.image.disk import write_disk
from skiff.layers import Search, resolve
from skiff.machine.files import Disk
from skiff.model.arch import Arch
from skiff.model.image import Artefact, Image
from skiff.model.layer import RawPiece
from skiff.model.workspace import Workspace
from tests.vm.conftest import Images
from tests.vm.disks import MIB, offset
from tests.vm.driver import Device, ProductFailure

MakeDevice = Callable[..., Device]

LAYERS = Path(__file__).parent / "layers"
PATIENT = 300

# Layer, CPU, console, and what the device trees call their boards.
BOARDS = {
    "odroid/c2": ("arm64", "ttyAML0", {"Hardkernel ODROID-C2"}),
    "odroid/c4": ("arm64", "ttyAML0", {"Hardkernel ODROID-C4"}),
    "odroid/hc4": ("arm64", "ttyAML0", {"Hardkernel ODROID-HC4"}),
    "odroid/n2": ("arm64", "ttyAML0", {"Hardkernel ODROID-N2", "Hardkernel ODROID-N2Plus"}),
    "odroid/n2l": ("arm64", "ttyAML0", {"Hardkernel ODROID-N2L"}),
    "odroid/m1": ("arm64", "ttyS2", {"Hardkernel ODROID-M1"}),
    "odroid/u": (
        "armhf",
        "ttySAC1",
        {
            "Hardkernel ODROID-U3 board based on Exynos4412",
            "Hardkernel ODROID-X board based on Exynos4412",
            "Hardkernel ODROID-X2 board based on Exynos4412",
        },
    ),
    "odroid/xu": (
        "armhf",
        "ttySAC2",
        {
            "Hardkernel Odroid XU3",
            "Hardkernel Odroid XU3 Lite",
            "Hardkernel Odroid XU4",
            "Hardkernel Odroid HC1",
        },
    ),
    "pi/3": (
        "arm64",
        "ttyS1",
        {
            "Raspberry Pi 3 Model A+",
            "Raspberry Pi 3 Model B",
            "Raspberry Pi 3 Model B+",
            "Raspberry Pi Compute Module 3 IO board V3.0",
            "Raspberry Pi Zero 2 W",
        },
    ),
    "pi/4": (
        "arm64",
        "ttyS1",
        {
            "Raspberry Pi 4 Model B",
            "Raspberry Pi 400",
            "Raspberry Pi Compute Module 4 IO Board",
        },
    ),
}


def words(board: str) -> tuple[str, ...]:
    return board, "test/board", "--layers-dir", str(LAYERS), "--arch", BOARDS[board][0]


def disk_of(image: Image, folder: Path, cache: Path) -> Path:
    """The disk image, unpacked, with made-up first stages."""
    assert image.disk is not None
    pieces = {}
    for piece in image.disk.raw:
        pieces[piece.name] = folder / piece.name
        pieces[piece.name].write_bytes(first_stage(piece))
    made, _ = write_disk(folder / "disk", image, pieces, cache, lambda _: None)
    card = folder / "card"
    run(["zstd", "-dq", "--sparse", "-f", made.packed.path, "-o", card])
    check_first_stage(image, card)
    return card


def first_stage(piece: RawPiece) -> bytes:
    """Something in the place of a vendor's piece."""
    return piece.name.encode() * 20


def check_first_stage(image: Image, card: Path) -> None:
    assert image.disk is not None
    with card.open("rb") as file:
        for piece in image.disk.raw:
            file.seek(piece.sector * 512)
            assert file.read(20 * len(piece.name)) == first_stage(piece), piece.name


def copied(card: Path, name: str, target: Path) -> Path:
    """A file of the boot partition, read by mtools."""
    target.parent.mkdir(parents=True, exist_ok=True)
    run(["mcopy", "-n", "-i", f"{card}@@{offset(card)}", f"::/{name}", target])
    return target


def models(image: Image, card: Path, folder: Path) -> set[str]:
    """What the device trees of slot a call their boards."""
    assert image.disk is not None
    found = set()
    for name in image.disk.dtbs:
        text = run(["fdtdump", copied(card, f"a/dtbs/{name}", folder / name)]).stdout.decode()
        model = re.search(r'^    model = "(.*?)"', text, re.MULTILINE)
        assert model, name
        found.add(model[1])
    return found


@pytest.mark.parametrize("board", BOARDS)
def test_the_disk_of_a_board(images: Images, device: MakeDevice, tmp_path: Path, board: str) -> None:
    _, console, names = BOARDS[board]
    image = images.build(*words(board))
    card = disk_of(image, tmp_path, images.cache)
    assert models(image, card, tmp_path) == names
    script = run(["dumpimage", "-l", copied(card, "a/boot.scr", tmp_path / "boot.scr")]).stdout.decode()
    assert "Script" in script
    assert f"console={console},".encode() in (tmp_path / "boot.scr").read_bytes()
    machine = device(*words(board))
    machine.image = from_card(machine.image, card, tmp_path)
    os.truncate(card, card.stat().st_size + 256 * MIB)
    machine.start(persist=False, disks=(Disk(card),))
    machine.wait_for_ssh(PATIENT)
    machine.wait_for_persist(PATIENT)
    assert machine.failed() == {}
    machine.cut_power()
    # Persist was made on the card, and the first stage was left alone when the table was written.
    assert offset(card, 3) == 528 * MIB
    check_first_stage(image, card)


def from_card(image: Image, card: Path, folder: Path) -> Image:
    """The image with kernel and initramfs as they are in slot a."""
    artefacts = []
    for name in ("kernel", "initramfs"):
        path = copied(card, f"a/{name}", folder / name)
        artefacts.append(Artefact(name, path, path.stat().st_size, file_digest(path)))
    return msgspec.structs.replace(image, artefacts=tuple(artefacts))


def test_the_pc_board_starts_by_uefi(from_disk: MakeDevice) -> None:
    machine = from_disk("odroid/h3", "test/board", "--layers-dir", str(LAYERS), "--arch", "amd64")
    machine.boot(PATIENT)
    machine.wait_for_persist(PATIENT)
    machine.succeed("test -d /sys/firmware/efi")
    assert machine.failed() == {}


def test_u_boot_is_compiled_from_source_and_placed(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The vendor's server is out of reach.
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    recipe = resolve(["odroid/xu"], Arch.ARMHF, Search(builtin=builtin_layers()))
    workspace = Workspace("board", tmp_path)
    image = images.build(*words("odroid/xu"))
    made, _ = pipeline.disk(recipe, image, workspace, images.cache, pipeline.Options(), Ui())
    uboot = (workspace.uboot / "u-boot-dtb.bin").read_bytes()
    card = tmp_path / "card"
    run(["zstd", "-dq", "--sparse", "-f", made.packed.path, "-o", card])
    with card.open("rb") as file:
        file.seek(63 * 512)
        assert file.read(len(uboot)) == uboot
    # The whole of it fits before the next piece; it looks for the script, and has what the script needs.
    assert 300_000 < len(uboot) <= MIB
    for word in (b"U-Boot 20", b"boot.scr", b"setexpr", b"itest", b"exynos5422-odroidxu3"):
        assert word in uboot, word
    missing = [piece for piece in recipe.raw if piece.sha256 and not fetched(images, piece)]
    told = [line for line in capsys.readouterr().err.splitlines() if "does not start" in line]
    assert len(told) == (1 if missing else 0)
    assert all(f"blobs/{piece.blob}" in told[0] for piece in missing)


def fetched(images: Images, piece: RawPiece) -> bool:
    """Whether a vendor's piece is in the cache, from an earlier day with network."""
    return (images.cache / "downloads" / piece.sha256).exists()


def test_compiled_u_boot_starts_a_raspberry_pi(images: Images, tmp_path: Path) -> None:
    # QEMU does the firmware's part; from there on the card is used as on the board.
    recipe = resolve(["pi/3"], Arch.ARM64, Search(builtin=builtin_layers()))
    named = ("pi/3", "test/raspi", "--layers-dir", str(LAYERS), "--arch", "arm64")
    image = images.build(*named)
    workspace = Workspace("board", tmp_path)
    made, _ = pipeline.disk(recipe, image, workspace, images.cache, pipeline.Options(), Ui(quiet=True))
    card = tmp_path / "card"
    run(["zstd", "-dq", "--sparse", "-f", made.packed.path, "-o", card])
    # Cards in QEMU have a power of two for a size.
    os.truncate(card, 1024 * MIB)
    uboot = copied(card, "u-boot.bin", tmp_path / "u-boot.bin")
    for name in ("bootcode.bin", "start.elf", "fixup.dat", "config.txt"):
        assert copied(card, name, tmp_path / name).stat().st_size > 0
    tree = copied(card, "bcm2837-rpi-3-b.dtb", tmp_path / "tree")
    console = tmp_path / "console"
    port = free_port()
    machine = spawn(
        [
            *("qemu-system-aarch64", "-M", "raspi3b", "-kernel", uboot, "-dtb", tree, "-no-reboot"),
            *("-drive", f"file={card},if=sd,format=raw", "-display", "none", "-monitor", "none"),
            *("-serial", "null", "-serial", f"file:{console}"),
            *(
                "-usb",
                "-device",
                "usb-net,netdev=n",
                "-netdev",
                f"user,id=n,hostfwd=tcp:127.0.0.1:{port}-:22",
            ),
        ]
    )
    try:
        said = wait_for(console, b"skiff runs Skiff from RAM", machine)
        mounts = wait_for_persist(images.key(*named), port)
    finally:
        machine.kill()
        machine.wait()
    assert b"Skiff: slot a" in said and b"Starting kernel" in said
    # Made on the card, behind the partitions that it was started from.
    assert "/dev/mmcblk0p3 /mnt/persist ext4" in mounts
    assert offset(card, 3) == 528 * MIB


def wait_for_persist(key: Path, port: int) -> str:
    """Log in as soon as that is possible, and wait there; what is mounted then."""
    options = (
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "ConnectTimeout=10",
        "BatchMode=yes",
    )
    words = ["ssh", "-q", "-F", "none", "-i", str(key), "-p", str(port), *(f"-o{word}" for word in options)]
    there = "until grep /mnt/persist /proc/mounts; do sleep 1; done"
    deadline = time.monotonic() + PATIENT
    while time.monotonic() < deadline:
        with contextlib.suppress(CommandError):
            return run([*words, "root@127.0.0.1", there], timeout=60).stdout.decode()
    raise ProductFailure("no SSH, or no persist")


def wait_for(console: Path, text: bytes, machine: Popen[bytes]) -> bytes:
    """What a machine said, once it has said ``text``."""
    deadline = time.monotonic() + PATIENT
    while time.monotonic() < deadline and machine.poll() is None:
        said = console.read_bytes() if console.exists() else b""
        if text in said:
            return said
        with contextlib.suppress(TimeoutExpired):
            machine.wait(0.5)
    raise ProductFailure(f"it never said {text!r}:\n{console.read_text(errors='replace')[-2000:]}")
