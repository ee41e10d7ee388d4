"""A machine's disks as /sys and /proc tell of them, made of folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from skiff.host.disks import Host

USB = "pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0/host6/target6:0:0/6:0:0:0"
SATA = "pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0"
SLOT = "pci0000:00/0000:00:1a.0/mmc_host/mmc0/mmc0:0001"
GB = 10**9


class FakeDisks:
    """Disks to be added one by one, with what lies on them."""

    def __init__(self, root: Path) -> None:
        self.host = Host(root / "sys", root / "proc")
        (self.host.sys / "block").mkdir(parents=True)
        (self.host.proc / "self").mkdir(parents=True)
        (self.host.proc / "swaps").write_text("Filename Type Size Used Priority\n")
        self._minor = 0
        self._mounts = ["21 28 0:21 / /proc rw - proc proc rw"]
        self._write_mounts()

    def add(
        self,
        name: str,
        place: str = USB,
        files: Mapping[str, str] | None = None,
        *,
        parts: int = 0,
        on: str = "",
    ) -> None:
        """A disk with partitions. ``files``: what /sys says of it; ``on``: the device that it lies upon."""
        folder = self.host.sys / "devices" / place / "block" / name
        self._node(folder, {"size": str(32 * GB // 512), "ro": "0", "removable": "0"})
        self._link(self.host.sys / "block" / name, folder)
        for file, text in (files or {}).items():
            self._write(folder / file, text)
        for number in range(1, parts + 1):
            part = f"{name}p{number}" if name[-1].isdigit() else f"{name}{number}"
            self._node(folder / part, {"partition": str(number), "size": "2048"})
        if on:
            holders = self.host.block(on).resolve() / "holders"
            holders.mkdir(exist_ok=True)
            self._link(holders / name, folder)

    def tell(self, name: str, file: str, text: str) -> None:
        """Have /sys say something else of a disk."""
        self._write(self.host.block(name).resolve() / file, text)

    def mount(self, number_of: str, place: str, source: str = "none") -> None:
        """Have something mounted, by the number of a device or (``number_of`` empty) by its source alone."""
        number = (self.host.block(number_of) / "dev").read_text().strip() if number_of else "0:99"
        self._mounts.append(f"30 28 {number} / {place} rw,noatime shared:1 - ext4 {source} rw")
        self._write_mounts()

    def swap(self, name: str) -> None:
        """Have a device be swap space."""
        with (self.host.proc / "swaps").open("a") as file:
            file.write(f"/dev/{name} partition 1048576 0 -2\n")

    def _write_mounts(self) -> None:
        (self.host.proc / "self/mountinfo").write_text("".join(f"{line}\n" for line in self._mounts))

    def _node(self, folder: Path, files: dict[str, str]) -> None:
        self._minor += 1
        for file, text in {**files, "dev": f"8:{self._minor}"}.items():
            self._write(folder / file, text)
        self._link(self.host.sys / "class/block" / folder.name, folder)
        self._link(self.host.sys / "dev/block" / f"8:{self._minor}", folder)

    def _write(self, file: Path, text: str) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def _link(self, link: Path, target: Path) -> None:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
