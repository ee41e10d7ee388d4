"""A resolved set of packages as a value: what a lock holds and a builder unpacks."""

from __future__ import annotations

from pathlib import PurePosixPath

import msgspec

from skiff.model.arch import Arch


class Package(msgspec.Struct, frozen=True, order=True):
    """One binary package, named so that exactly these bytes can be had again."""

    name: str
    version: str
    arch: str
    sha256: str
    bytes: int
    # Where it lies: the archive's base URL and the path below it.
    base: str
    path: str

    @property
    def source(self) -> str:
        """The source package that it was made of: the archive keeps its packages in a folder of that name."""
        return PurePosixPath(self.path).parent.name


class Source(msgspec.Struct, frozen=True):
    """A source package: what the archive's lists say of it, and the files with its text."""

    name: str
    version: str
    # Paragraph of the list, as it stands there.
    paragraph: str
    files: tuple[Package, ...]


class BootLock(msgspec.Struct, frozen=True):
    """What starts a board, as far as it comes from the archive."""

    # Of U-Boot, when it is compiled.
    source: Source | None = None
    # Binary packages with parts of it, or with files of the boot partition.
    packages: tuple[Package, ...] = ()


class BaseLock(msgspec.Struct, frozen=True):
    """The packages of a base image that the device makes."""

    # Where the list of them stands in the image, and the packages that were asked for by name.
    path: str
    request: tuple[str, ...]
    # Addresses of the archives, by the name that `Package.base` has.
    mirrors: dict[str, str]
    epoch: int
    packages: tuple[Package, ...]


class PackageSet(msgspec.Struct, frozen=True):
    """All packages of a recipe, and the request that they answer."""

    arch: Arch
    suite: str
    request: tuple[str, ...]
    provided: tuple[str, ...]
    # Date of the newest Release file they were resolved from: seconds since 1970, UTC.
    epoch: int
    packages: tuple[Package, ...]
    # In a lock, for a board.
    boot: BootLock = BootLock()
    bases: tuple[BaseLock, ...] = ()
    # Holds the source text of the kernel, when that is compiled.
    linux: Package | None = None
    # For the building machine's CPU, where the image's own packages cannot run.
    tools: tuple[Package, ...] = ()

    @property
    def fetched(self) -> tuple[Package, ...]:
        """All files that are fetched for an image, its building and what starts it."""
        source = self.boot.source.files if self.boot.source else ()
        return (*self.in_image, *self.tools, *self.boot.packages, *source)

    @property
    def in_image(self) -> tuple[Package, ...]:
        """The packages, and what a kernel of the image is compiled of."""
        return (*self.packages, *((self.linux,) if self.linux else ()))
