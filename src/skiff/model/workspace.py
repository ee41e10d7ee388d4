"""Where the files of one build live: every path of a workspace is a property here."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Workspace(msgspec.Struct, frozen=True):
    """A folder that holds one configured build, its outputs and its virtual machine."""

    name: str
    root: Path

    @property
    def config(self) -> Path:
        """What `skiff configure` chose: layers, CPU, options (JSON)."""
        return self.root / "config.json"

    @property
    def lock(self) -> Path:
        """Package versions and checksums written by `skiff lock` (JSON)."""
        return self.root / "lock.json"

    @property
    def busy(self) -> Path:
        """Held (flock) while a build of this workspace is under way."""
        return self.root / ".busy"

    @property
    def image(self) -> Path:
        """The finished image."""
        return self.root / "image"

    @property
    def disk(self) -> Path:
        """The disk image made of it, with checksum and block map."""
        return self.root / "disk"

    @property
    def blobs(self) -> Path:
        """The user's own pieces of bootloaders, by the names that layers give them."""
        return self.root / "blobs"

    @property
    def uboot(self) -> Path:
        """What compiling U-Boot gave: some boards' pieces are made of it by the vendor's programs."""
        return self.root / "uboot"

    @property
    def kernel(self) -> Path:
        """Configurations of a kernel from source: what layers add up to, and what its menu made of that."""
        return self.root / "kernel"

    @property
    def buildroot(self) -> Path:
        """The `buildroot` builder's input, output and log."""
        return self.root / "buildroot"

    @property
    def machine(self) -> Path:
        """State of the virtual machine that `skiff run` started."""
        return self.root / "machine"

    @property
    def keys(self) -> Path:
        """SSH key pair made for a user who has none."""
        return self.root / "keys"

    @property
    def private_key(self) -> Path:
        """Private half of the key made here."""
        return self.keys / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """Host keys seen by `skiff ssh`."""
        return self.machine / "known_hosts"
