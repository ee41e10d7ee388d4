"""The frozen value between `resolve` and `build`: nothing after it reads layers or the environment."""

from __future__ import annotations

from pathlib import Path

import msgspec

from skiff.model.arch import Arch
from skiff.model.layer import BootFile, BuildrootSource, DebianBase, LoadPart, RawPiece, UbootInput, UserEntry

# Folders of a layer with Kconfig lines: `*.config` in them, and in their folder of one CPU's name.
SETTINGS = ("buildroot", "busybox", "kernel")
# All folders of a layer that mean something by their names.
FOLDERS = (
    "rootfs",
    "services",
    "hooks",
    "uboot",
    "patches",
    "buildroot_ext",
    "buildroot_patches",
    "kernel_patches",
    "uboot_patches",
    "root_overlay",
    *SETTINGS,
)


class LayerRef(msgspec.Struct, frozen=True):
    """One layer of a recipe: its name and the folder it was read from."""

    name: str
    path: Path
    # Whether it is a config package of SkiffOS, without layer.toml.
    skiffos: bool = False

    @property
    def rootfs(self) -> Path:
        """Files laid over the tree."""
        return self.path / "rootfs"

    @property
    def services(self) -> Path:
        """Service folders (runit)."""
        return self.path / "services"

    @property
    def uboot(self) -> Path:
        """Settings for compiling U-Boot."""
        return self.path / "uboot"

    @property
    def hooks(self) -> Path:
        """Programs run on the host while building."""
        return self.path / "hooks"


class SkiffosTree(msgspec.Struct, frozen=True):
    """A checkout of SkiffOS whose own system is built."""

    root: Path
    # Every package there is, by name: its scripts find them in their environment.
    packages: tuple[tuple[str, Path], ...]
    workspace: str


class Recipe(msgspec.Struct, frozen=True):
    """Everything an image is made of. Tuples keep the order of the layers, first layer first."""

    arch: Arch
    layers: tuple[LayerRef, ...]
    packages: tuple[str, ...] = ()
    provided: tuple[str, ...] = ()
    keep: dict[str, tuple[str, ...]] = {}
    bases: tuple[DebianBase, ...] = ()
    trim_drop: tuple[str, ...] = ()
    trim_keep: tuple[str, ...] = ()
    trim_exports: tuple[str, ...] = ()
    trim_lines: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    dirs: dict[str, str] = {}
    links: dict[str, str] = {}
    applets: tuple[str, ...] = ()
    early: tuple[str, ...] = ()
    bytecode: tuple[str, ...] = ()
    groups: dict[str, int] = {}
    users: tuple[UserEntry, ...] = ()
    kernel_package: str = ""
    # Compiled from source instead, from this configuration of its own and the settings of the layers.
    kernel_source: bool = False
    kernel_base: str = "defconfig"
    modules: tuple[str, ...] = ()
    boot_modules: tuple[str, ...] = ()
    load_modules: tuple[str, ...] = ()
    firmware_optional: tuple[str, ...] = ()
    cmdline: tuple[str, ...] = ()
    hostname: str = "skiff"
    engine: str = ""
    # Parts of skiff_device that travel along.
    device_python: tuple[str, ...] = ()
    qemu_machine: str = ""
    qemu_memory: int = 512
    qemu_cpus: int = 2
    disk_table: str = "gpt"
    # MiB: the boot partition's start leaves room for the bootloaders of all boards, its size for two slots.
    disk_start: int = 16
    disk_size: int = 512
    loader: str = ""
    dtbs: tuple[str, ...] = ()
    load: LoadPart = LoadPart()
    raw: tuple[RawPiece, ...] = ()
    boot_files: tuple[BootFile, ...] = ()
    # Empty: no U-Boot is compiled.
    uboot_defconfig: str = ""
    uboot_target: str = ""
    uboot_files: tuple[str, ...] = ()
    uboot_inputs: tuple[UbootInput, ...] = ()
    # What compiles it: `debian` unpacks packages, `buildroot` compiles them.
    builder: str = "debian"
    # Set: SkiffOS's own system, and nothing of ours in it.
    skiffos: SkiffosTree | None = None
    toolchain: str = ""
    buildroot_sources: dict[str, BuildrootSource] = {}
    buildroot_variables: dict[str, str] = {}
    buildroot_links: dict[str, str] = {}
    # Public keys (whole lines of authorized_keys) that root accepts.
    authorized_keys: tuple[str, ...] = ()
    # What programs are compressed with: `xz`, `zstd`, or `zstd:LEVEL`.
    compressor: str = "xz"
    # What a layer may add to the image, in 10⁶ bytes, by layer.
    budgets: dict[str, float] = {}
    # For each value, `key` or `key[item]`, the layer that set it last.
    origins: dict[str, str] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the layers, first to last."""
        return tuple(layer.name for layer in self.layers)

    @property
    def board(self) -> str:
        """The last layer that says what starts the machine: bootloader, its pieces, device trees."""
        facts = ("loader", "uboot_defconfig", "dtbs[", "raw[")
        named = {layer for key, layer in self.origins.items() if key.startswith(facts)}
        return next((name for name in reversed(self.names) if name in named), "")
