"""Firmware for virtual machines out of Debian's archive: the same whatever the host has installed."""

from __future__ import annotations

from pathlib import Path

import msgspec

from skiff.builders.debian.one_package import find_package, unpacked_files
from skiff.host.errors import UserError
from skiff.host.ui import Ui
from skiff.model.arch import Arch
from skiff.model.firmware import Firmware


class _Place(msgspec.Struct, frozen=True):
    """Where a package has it."""

    package: str
    code: str
    variables: str = ""


_PLACES = {
    ("uefi", Arch.AMD64): _Place("ovmf", "usr/share/OVMF/OVMF_CODE_4M.fd", "usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("uefi", Arch.ARM64): _Place(
        "qemu-efi-aarch64", "usr/share/AAVMF/AAVMF_CODE.no-secboot.fd", "usr/share/AAVMF/AAVMF_VARS.fd"
    ),
    ("uboot", Arch.ARM64): _Place("u-boot-qemu", "usr/lib/u-boot/qemu_arm64/u-boot.bin"),
    ("uboot", Arch.ARMHF): _Place("u-boot-qemu", "usr/lib/u-boot/qemu_arm/u-boot.bin"),
    # The one that OpenSBI starts; QEMU brings that along.
    ("uboot", Arch.RISCV64): _Place("u-boot-qemu", "usr/lib/u-boot/qemu-riscv64_smode/u-boot.bin"),
}


def firmware(arch: Arch, loader: str, cache: Path, mirror: str | None, ui: Ui) -> Firmware:
    """The firmware that reads a disk of that kind (`uefi`, `uboot`).

    Raises UserError when there is none for that CPU, or it cannot be fetched.
    """
    place = _PLACES.get((loader, arch))
    if place is None:
        known = " and ".join(sorted(kind for kind, cpu in _PLACES if cpu is arch))
        raise UserError(
            f"no virtual machine for {arch.value} starts from a disk by {loader or 'nothing'}",
            hint=f"there is firmware for {known}: a layer of yours can set [disk.loader]",
        )
    package = find_package(arch, place.package, cache, mirror, ui.warn)
    files = unpacked_files(package, arch, cache, mirror)
    return Firmware(loader, files / place.code, files / place.variables if place.variables else None)
