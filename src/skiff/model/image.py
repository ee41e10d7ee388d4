"""The finished image as a value: what `build` hands to `run`, `size`, `flash` and `push`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from skiff.model.arch import Arch


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
    # `kernel` and `initramfs`; later also device trees.
    artefacts: tuple[Artefact, ...]
    cmdline: tuple[str, ...]
    hostname: str
    engine: str
    qemu_machine: str
    qemu_memory: int
    qemu_cpus: int
    # Seconds since 1970 (UTC) that every file of the image carries.
    epoch: int

    def artefact(self, name: str) -> Artefact:
        """The artefact of that name. Raises KeyError when the image has none."""
        for item in self.artefacts:
            if item.name == name:
                return item
        raise KeyError(name)
