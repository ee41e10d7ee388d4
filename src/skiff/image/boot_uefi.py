"""Files for UEFI firmware: settings of systemd-boot, and a Boot Loader Specification entry for each slot."""

from __future__ import annotations

from collections.abc import Sequence

from skiff.model.arch import Arch

# Where firmware looks on a medium that it knows nothing of (UEFI specification, 3.5.1.1).
FILE = {Arch.AMD64: "BOOTX64.EFI", Arch.ARM64: "BOOTAA64.EFI", Arch.RISCV64: "BOOTRISCV64.EFI"}


def entry(slot: str, cmdline: Sequence[str]) -> bytes:
    """The entry of a slot (type 1). The loader takes the one with the highest version that has tries left;
    the device writes those that follow, with higher versions (layers/base/rootfs/usr/lib/skiff/slots.sh)."""
    return "\n".join(
        [
            f"title Skiff, slot {slot}",
            "sort-key skiff",
            "version 1",
            f"linux /{slot}/kernel",
            f"initrd /{slot}/initramfs",
            f"options {' '.join([*cmdline, f'skiff.slot={slot}'])}",
            "",
        ]
    ).encode()


def files(slot: str, cmdline: Sequence[str]) -> dict[str, bytes]:
    """Settings and entry; the loader itself comes from its package."""
    return {
        # No menu; a key held at power-on shows it. What the kernel is told cannot be changed there.
        "loader/loader.conf": b"timeout 0\neditor no\n",
        f"loader/entries/skiff-{slot}.conf": entry(slot, cmdline),
    }
