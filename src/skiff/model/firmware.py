"""What starts a virtual machine from its disk, as a board's own firmware does."""

from __future__ import annotations

from pathlib import Path

import msgspec

from skiff.model.disk import DiskImage


class Firmware(msgspec.Struct, frozen=True):
    """Firmware of a virtual machine."""

    # `uefi` or `uboot`.
    loader: str
    code: Path
    # UEFI: what its variables are at first.
    variables: Path | None = None


class Boot(msgspec.Struct, frozen=True):
    """A start from a disk: the firmware, and the disk image that its card is written with."""

    firmware: Firmware
    disk: DiskImage
