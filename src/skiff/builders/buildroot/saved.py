"""What a menu of Kconfig changed, as a fragment of a layer."""

from __future__ import annotations

from pathlib import Path

from skiff.builders.buildroot import fragments
from skiff.builders.buildroot.fragments import Kind
from skiff.builders.buildroot.make import Make
from skiff.host.files import write_atomic

# Written by this builder anew each time: of no use in a layer.
_GENERATED = (
    "BR2_CCACHE_DIR",
    "BR2_DEFCONFIG",
    "BR2_DL_DIR",
    "BR2_EXTERNAL",
    "BR2_GLOBAL_PATCH_DIR",
    "BR2_LINUX_KERNEL_CONFIG_FRAGMENT_FILES",
    "BR2_PACKAGE_BUSYBOX_CONFIG_FRAGMENT_FILES",
    "BR2_PACKAGE_OVERRIDE_FILE",
    "BR2_PRIMARY_SITE",
    "BR2_ROOTFS_USERS_TABLES",
    "BR2_TARGET_UBOOT_CONFIG_FRAGMENT_FILES",
)
# Where a package's own configuration is, by the package's name.
_PACKAGES = {Kind.KERNEL: "linux", Kind.BUSYBOX: "busybox", Kind.UBOOT: "uboot"}


def snapshot(make: Make) -> dict[Kind, dict[str, str]]:
    """All configurations there are now: of Buildroot, and of packages that have been configured."""
    output = make.places.output
    found = {Kind.BUILDROOT: make.places.config}
    for kind, name in _PACKAGES.items():
        for file in sorted((output / "build").glob(f"{name}-*/.config")):
            found[kind] = file
    return {kind: fragments.read(file.read_text()) for kind, file in found.items() if file.is_file()}


def changes(before: dict[Kind, dict[str, str]], after: dict[Kind, dict[str, str]]) -> dict[Kind, str]:
    """Fragments with what differs. Symbols that vanished are set to `n`, unless they were strings."""
    texts = {}
    for kind, values in after.items():
        old = before.get(kind, {})
        lines = [
            fragments.line(symbol, value)
            for symbol, value in values.items()
            if old.get(symbol, "n") != value and not symbol.startswith(_GENERATED)
        ]
        lines += [
            fragments.line(symbol, "n")
            for symbol, value in old.items()
            if symbol not in values and value in ("y", "m") and not symbol.startswith(_GENERATED)
        ]
        if lines:
            texts[kind] = "".join(lines)
    return texts


def save(texts: dict[Kind, str], layer: Path) -> list[Path]:
    """Add the changes to `KIND/saved.config` of a layer. Returns the files."""
    written = []
    for kind, text in texts.items():
        file = layer / kind.value / "saved.config"
        before = file.read_text() if file.exists() else ""
        values = {**fragments.read(before), **fragments.read(text)}
        lines = "".join(fragments.line(*item) for item in values.items())
        write_atomic(file, f"# Saved by `skiff br save`.\n{lines}".encode())
        written.append(file)
    return written
