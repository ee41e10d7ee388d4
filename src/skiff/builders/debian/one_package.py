"""Files of a single package of the archive, for what is not in the image: firmware, bootloaders' parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from skiff.builders.debian.archive import Archive, Resolver
from skiff.builders.debian.unpack import Unpacked, unpack_all
from skiff.host.errors import UserError
from skiff.model.arch import Arch
from skiff.model.image import PackageFact
from skiff.model.packages import Package


def find_package(
    arch: Arch,
    name: str,
    cache: Path,
    mirror: str | None,
    warn: Callable[[str], None],
    *,
    update: bool = False,
) -> Package:
    """One package for a CPU, as the archive has it now. Raises UserError when there is none.

    ``update``: an answer of today does not count.
    """
    found = Resolver(Archive(arch, cache, mirror), cache).packages([name], [], update=update, warn=warn)
    return next(item for item in found.packages if item.name == name)


def package_file(package: Package, path: str, arch: Arch, cache: Path, mirror: str | None) -> Path:
    """A file of a package. Raises UserError when it has none of that name, or cannot be fetched."""
    found = unpacked_files(package, arch, cache, mirror) / path
    if not found.is_file():
        raise UserError(f"package {package.name} ({arch.value}) has no file {path}")
    return found


def unpacked_files(package: Package, arch: Arch, cache: Path, mirror: str | None) -> Path:
    """Folder with the files of one package."""
    return unpacked_package(package, arch, cache, mirror).root / "files"


def package_fact(package: Package, arch: Arch, cache: Path, mirror: str | None) -> PackageFact:
    """What the owner of an image is told of one package of which something is in it."""
    found = unpacked_package(package, arch, cache, mirror)
    return PackageFact(
        package.name,
        package.version,
        package.arch,
        package.sha256,
        found.index.licences,
        package.source,
    )


def unpacked_package(package: Package, arch: Arch, cache: Path, mirror: str | None) -> Unpacked:
    """One package in the cache."""
    debs = Archive(arch, cache, mirror).fetch([package], lambda _: None)
    (found,) = unpack_all([package], debs, cache, lambda _: None)
    return found
