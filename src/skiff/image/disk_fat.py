"""Partitions that are FAT inside the disk image, written with mtools, the same bytes each time."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import msgspec

from skiff.host.run import run
from skiff.model.disk import BOOT_LABEL, MIB, SECTOR

# FAT32 has 65525 clusters at least; what is smaller is FAT12 or FAT16, as mformat chooses.
_FAT32 = 34 * MIB
# From this size on clusters of 4 KiB are enough to make it FAT32 (65525 of them); below, of one sector.
_LARGE = 272 * MIB


class Fat(msgspec.Struct, frozen=True):
    """A FAT file system inside a file: where it begins and its size, in bytes."""

    disk: Path
    start: int
    size: int
    # Time that every file carries: seconds since 1970, UTC.
    epoch: int

    def _mtools(self, program: str, *words: str | Path) -> None:
        env = {
            "SOURCE_DATE_EPOCH": str(self.epoch),
            "TZ": "UTC",
            # Nobody's own settings of mtools.
            "MTOOLSRC": "/dev/null",
            "MTOOLS_SKIP_CHECK": "1",
        }
        run([program, "-i", f"{self.disk}@@{self.start}", *words], env=env)

    def format(self, serial: int, label: str = BOOT_LABEL) -> None:
        """Make an empty file system; ``serial`` is its number (32 bits)."""
        sectors = "8" if self.size >= _LARGE else "1"
        self._mtools(
            "mformat",
            *(("-F", "-c", sectors) if self.size >= _FAT32 else ()),
            *("-v", label, "-N", f"{serial:08x}"),
            *("-T", str(self.size // SECTOR), "-h", "255", "-s", "63", "-H", str(self.start // SECTOR), "::"),
        )

    def write(self, files: Mapping[str, bytes | Path]) -> None:
        """Write files, with the folders that they are in; a name that ends in `/` is an empty folder."""
        folders = {str(parent) for name in files for parent in PurePosixPath(name).parents} - {"."}
        folders |= {name.rstrip("/") for name in files if name.endswith("/")}
        if folders:
            # A folder sorts before what is in it.
            self._mtools("mmd", *(f"::/{name}" for name in sorted(folders)))
        with tempfile.TemporaryDirectory(prefix="skiff-boot-") as scratch:
            for name, content in sorted(files.items()):
                if name.endswith("/"):
                    continue
                if isinstance(content, bytes):
                    source = Path(scratch) / "file"
                    source.write_bytes(content)
                else:
                    source = content
                self._mtools("mcopy", source, f"::/{name}")

    def used(self) -> int:
        """Bytes from the start of a FAT32 to the end of its last cluster in use.

        Offsets of the boot sector's fields: Microsoft's FAT specification (fatgen103).
        """
        with self.disk.open("rb") as disk:
            disk.seek(self.start)
            boot = disk.read(SECTOR)
            per_cluster, reserved, copies = struct.unpack_from("<BHB", boot, 13)
            (length,) = struct.unpack_from("<I", boot, 36)
            disk.seek(self.start + reserved * SECTOR)
            table = disk.read(length * SECTOR)
        entries = struct.unpack(f"<{len(table) // 4}I", table)
        last = max(number for number, entry in enumerate(entries) if entry)
        # Clusters are counted from 2.
        return int((reserved + copies * length + (last - 1) * per_cluster) * SECTOR)

    def reserved(self) -> int:
        """Sectors at its start that no file uses."""
        with self.disk.open("rb") as disk:
            disk.seek(self.start + 14)
            return int.from_bytes(disk.read(2), "little")
