"""Files of packages that go to the boot partition and not into the tree: device trees, the UEFI loader."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

from skiff.builders.debian.unpack import Unpacked
from skiff.host.errors import UserError
from skiff.model.arch import Arch
from skiff.model.recipe import Recipe

LOADER_PACKAGE = "systemd-boot-efi"
# Name in that package → the name that firmware looks for.
_LOADER = {
    Arch.AMD64: ("systemd-bootx64.efi", "BOOTX64.EFI"),
    Arch.ARM64: ("systemd-bootaa64.efi", "BOOTAA64.EFI"),
    Arch.RISCV64: ("systemd-bootriscv64.efi", "BOOTRISCV64.EFI"),
}


def loader_packages(recipe: Recipe) -> list[str]:
    """Packages that the recipe's bootloader comes from."""
    if recipe.loader != "uefi":
        return []
    if recipe.arch not in _LOADER:
        raise UserError(
            f"disk.loader: UEFI is not for {recipe.arch.value}",
            hint=f"layer {recipe.origins.get('loader', '?')} says so: it can be uboot or none there",
        )
    return [LOADER_PACKAGE]


def loader_file(recipe: Recipe) -> tuple[str, str]:
    """Where in its package the recipe's bootloader lies, and the name that firmware looks for."""
    source, name = _LOADER[recipe.arch]
    return f"usr/lib/systemd/boot/efi/{source}", name


def boot_files(
    recipe: Recipe, unpacked: Sequence[Unpacked], trees: Mapping[str, Path], kernel: str
) -> dict[str, Path]:
    """Artefact name → file. ``trees`` are those of the kernel's package, which is called ``kernel``.

    Raises UserError for a device tree that is not among them.
    """
    found = {f"dtbs/{name}": path for name, path in _chosen(recipe, trees, kernel).items()}
    if recipe.loader == "uefi":
        package = next(item for item in unpacked if item.package.name == LOADER_PACKAGE)
        path, name = loader_file(recipe)
        found[f"boot/{name}"] = package.root / "files" / path
    return found


def device_trees(unpacked: Sequence[Unpacked], kernel: str) -> dict[str, Path]:
    """All device trees of the kernel's package, by name."""
    package = next(item for item in unpacked if item.package.name == kernel)
    known: dict[str, Path] = {}
    for folder in (package.root / "files/usr/lib").glob("linux-image-*"):
        known.update({str(path.relative_to(folder)): path for path in folder.rglob("*.dtb")})
    return known


def _chosen(recipe: Recipe, known: Mapping[str, Path], kernel: str) -> dict[str, Path]:
    for name in recipe.dtbs:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=2)
            same = [path for path in known if path.rpartition("/")[2] == name.rpartition("/")[2]]
            guess = " or ".join(same or near)
            raise UserError(
                f"disk.dtbs: {name}: {kernel} has no such device tree "
                f"(layer {recipe.origins.get(f'dtbs[{name}]', '?')})",
                hint=f"did you mean {guess}?" if guess else f"it has {len(known)}, none of a name like that",
            )
    return {name: known[name] for name in recipe.dtbs}
