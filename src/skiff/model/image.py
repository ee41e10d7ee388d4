"""The finished image as a value: what `build` hands to `run`, `size`, `flash` and `push`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from skiff.model.arch import Arch
from skiff.model.disk import DiskPlan


class Artefact(msgspec.Struct, frozen=True):
    """One file of the image."""

    name: str
    path: Path
    bytes: int
    sha256: str


class Image(msgspec.Struct, frozen=True):
    """A built image, written beside its files as image.json."""

    arch: Arch
    layers: tuple[str, ...]
    recipe_sha256: str
    # `kernel` and `initramfs`; for the boot partition also `dtbs/NAME` and `boot/NAME`.
    artefacts: tuple[Artefact, ...]
    cmdline: tuple[str, ...]
    hostname: str
    engine: str
    qemu_machine: str
    qemu_memory: int
    qemu_cpus: int
    # Seconds since 1970 (UTC) that every file of the image carries.
    epoch: int
    # How its disk image is laid out.
    disk: DiskPlan | None = None
    # The layer that says what starts the machine; an update goes to the same board only.
    board: str = ""

    def artefact(self, name: str) -> Artefact:
        """The artefact of that name. Raises KeyError when the image has none."""
        for item in self.artefacts:
            if item.name == name:
                return item
        raise KeyError(name)


class FileFact(msgspec.Struct, frozen=True, array_like=True):
    """One file in the image: where, how large before compression, and who brought it."""

    path: str
    bytes: int
    origin: str
    part: str
    # The layer that it is there for; empty: none asked for it.
    layer: str = ""


class PartFact(msgspec.Struct, frozen=True):
    """One part of the initramfs and its bytes in it."""

    name: str
    bytes: int


class PackageFact(msgspec.Struct, frozen=True):
    """A package of the image, for its owner's list of what is inside."""

    name: str
    version: str
    arch: str
    sha256: str
    licences: tuple[str, ...]
    # Debian's source package that it was made of; empty when it is not Debian's.
    source: str = ""


class Manifest(msgspec.Struct, frozen=True):
    """What the image is made of, written beside it as manifest.json."""

    parts: tuple[PartFact, ...]
    files: tuple[FileFact, ...]
    packages: tuple[PackageFact, ...]
    # The layer that chose the kernel; empty when it is the default one.
    kernel_layer: str = ""
