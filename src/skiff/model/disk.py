"""A disk image as values: how one is laid out, and what `skiff disk` has made."""

from __future__ import annotations

from pathlib import Path

import msgspec

from skiff.model.layer import LoadPart, RawPiece

SECTOR = 512
MIB = 1 << 20
# Bytes of a block in a block map: bmaptool's usual ones, and what a disk can be written in whole pages of.
BLOCK = 4096
# A GPT's copy at the end of the disk: 33 sectors (UEFI specification, 5.3).
GPT_COPY = 33 * SECTOR

# Label of the boot partition, by which the device knows the disk it was started from.
BOOT_LABEL = "SKIFFBOOT"
# Label of the partition with the spare of U-Boot's script.
SPARE_LABEL = "SKIFFSPARE"
SLOTS = ("a", "b")


class DiskPlan(msgspec.Struct, frozen=True):
    """How the disk image of a built image is to be laid out; sizes in MiB."""

    table: str
    start: int
    size: int
    # `uefi`, `uboot`, or `none` for the files without anything that starts them. Empty: for no disk.
    loader: str = ""
    # Names of device trees, as the kernel package has them below its folder.
    dtbs: tuple[str, ...] = ()
    load: LoadPart = LoadPart()
    # Those that could be had; each is an artefact `raw/NAME`.
    raw: tuple[RawPiece, ...] = ()


class Placed(msgspec.Struct, frozen=True):
    """A piece of a disk: where it begins and how long it is, in bytes."""

    name: str
    start: int
    size: int

    @property
    def end(self) -> int:
        """First byte after it."""
        return self.start + self.size


class DiskFile(msgspec.Struct, frozen=True):
    """One file that `skiff disk` wrote."""

    path: Path
    bytes: int
    sha256: str


class DiskImage(msgspec.Struct, frozen=True):
    """A finished disk image, written beside its files as disk.json."""

    # What it was made of: image, plan and this tool.
    fingerprint: str
    # The image itself, packed; its checksum file; its block map.
    packed: DiskFile
    checksum: DiskFile
    block_map: DiskFile
    # Size and checksum of the image unpacked.
    bytes: int
    sha256: str
    # Bytes of it that flashing has to write.
    mapped: int
    loader: str
    partitions: tuple[Placed, ...]

    @property
    def files(self) -> tuple[DiskFile, ...]:
        """All three files."""
        return (self.packed, self.checksum, self.block_map)
