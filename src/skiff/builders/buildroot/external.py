"""A recipe as Buildroot's input: an external tree with configurations, users, sources and patches."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from skiff.builders.buildroot import fragments, skiffos
from skiff.builders.buildroot.fragments import Fragment, Kind, Setting
from skiff.host.errors import UserError
from skiff.host.files import write_atomic
from skiff.model.recipe import Recipe

_NAME = "SKIFF"

# Values of Buildroot's choice `Target Architecture` that a board here may have.
_CPUS = ("aarch64", "arm", "i386", "riscv", "x86_64")


class Places(msgspec.Struct, frozen=True):
    """Folders of one build. All are absolute."""

    # Written here: the external tree.
    external: Path
    # Written by Buildroot.
    output: Path
    # Shared by all workspaces.
    downloads: Path
    ccache: Path

    @property
    def config(self) -> Path:
        """Buildroot's final configuration."""
        return self.output / ".config"


class Plan(msgspec.Struct, frozen=True):
    """What layers ask of Kconfig, by whose configuration it is."""

    buildroot: dict[str, Setting]
    kernel: dict[str, Setting]
    busybox: dict[str, Setting]
    uboot: dict[str, Setting]

    def of(self, kind: Kind) -> dict[str, Setting]:
        """The settings of one kind."""
        settings: dict[str, Setting] = getattr(self, kind.value)
        return settings


def explain(recipe: Recipe, symbol: str) -> list[tuple[str, str, str]]:
    """Whose configuration, value and layer, for each layer that sets a symbol."""
    wanted = plan(recipe)
    found = [(kind.value, wanted.of(kind).get(symbol)) for kind in Kind]
    return [(kind, value, layer) for kind, setting in found if setting for layer, value in setting.said]


def cpu(recipe: Recipe) -> str:
    """The CPU that the layers choose, by Buildroot's own name: `aarch64`. Empty when none does."""
    chosen = [symbol for symbol, setting in plan(recipe).buildroot.items() if setting.value == "y"]
    return next((name for symbol in reversed(chosen) if (name := symbol.removeprefix("BR2_")) in _CPUS), "")


def symbols(recipe: Recipe) -> list[str]:
    """Every symbol that a layer sets."""
    wanted = plan(recipe)
    return [symbol for kind in Kind for symbol in wanted.of(kind)]


# What of a toolchain that Buildroot compiles goes when another takes its place.
_OWN_TOOLCHAIN = (
    "BR2_TOOLCHAIN_BUILDROOT_MUSL",
    "BR2_TOOLCHAIN_BUILDROOT_GLIBC",
    "BR2_TOOLCHAIN_BUILDROOT_CXX",
    "BR2_PACKAGE_HOST_LINUX_HEADERS_CUSTOM_6_12",
    "BR2_KERNEL_HEADERS_AS_KERNEL",
)


def plan(recipe: Recipe, toolchain: str = "") -> Plan:
    """All settings of a recipe's layers. ``toolchain``: lines for an external one."""
    found = {kind.value: fragments.collect(recipe.layers, recipe.arch, kind) for kind in Kind}
    lines = found[Kind.BUILDROOT.value]
    if toolchain:
        layer = recipe.origins.get("toolchain", "?")
        lines.append(Fragment(layer, Path(layer), toolchain))
    said = fragments.merge(lines)
    external = said.get("BR2_TOOLCHAIN_EXTERNAL")
    if external and external.value == "y":
        own = "".join(fragments.line(symbol, "n") for symbol in _OWN_TOOLCHAIN if symbol in said)
        lines.append(Fragment(external.layer, Path(external.layer), own))
    return Plan(**{kind: fragments.merge(each) for kind, each in found.items()})


def write_external(recipe: Recipe, wanted: Plan, places: Places, *, offline: bool = False) -> Path:
    """Write the external tree, and give back its defconfig. Files that stay as they are keep their time.

    Raises UserError for a source folder that is not there.
    """
    folder = places.external
    environment = skiffos.environment(recipe, places.output, folder)
    files = {
        "external.desc": f"name: {_NAME}\ndesc: What Skiff's layers add up to\n",
        "Config.in": "# Nothing of its own.\n",
        "external.mk": "# Nothing of its own.\n",
        "kernel.config": fragments.text(wanted.kernel.values()),
        "busybox.config": fragments.text(wanted.busybox.values()),
        "uboot.config": fragments.text(wanted.uboot.values()),
        "users": _users(recipe),
        "override.mk": _override(recipe),
        # SkiffOS's names: its base names them itself.
        "pre_build.sh": skiffos.hook_script(recipe, "pre.sh", environment),
        "post_build.sh": skiffos.hook_script(recipe, "post.sh", environment),
        **_hashes(recipe),
    }
    files["defconfig"] = _defconfig(recipe, wanted, places, offline=offline)
    for name, content in files.items():
        write_atomic(folder / name, content.encode(), 0o755 if name.endswith(".sh") else 0o644)
    (folder / "patches").mkdir(exist_ok=True)
    known = {folder / name for name in files}
    for path in (folder / "patches").rglob("*.hash"):
        if path not in known:
            path.unlink()
    return folder / "defconfig"


def _defconfig(recipe: Recipe, wanted: Plan, places: Places, *, offline: bool) -> str:
    if recipe.skiffos:
        # Its base has lines for all that is generated below, with words to replace. Lines that are overruled
        # stay: Kconfig sees what it sees in SkiffOS.
        collected = fragments.collect(recipe.layers, recipe.arch, Kind.BUILDROOT)
        text = "".join(f"{fragment.text}\n" for fragment in collected)
        folders = {part: folders_of(recipe, part) for part in _PARTS}
        for word, value in skiffos.placeholders(recipe, folders, places.external).items():
            text = text.replace(word, value)
        lines = {"BR2_CCACHE_DIR": f'"{places.ccache}"', **_flags(recipe)}
        return text + "".join(fragments.line(symbol, value) for symbol, value in lines.items())
    values = {
        **{symbol: setting.value for symbol, setting in wanted.buildroot.items()},
        **_flags(recipe),
        **_generated(recipe, wanted, places, offline=offline),
    }
    return "".join(fragments.line(symbol, value) for symbol, value in values.items())


# Folders of packages that Buildroot is told of.
_PARTS = ("buildroot_patches", "kernel_patches", "uboot_patches", "root_overlay")


def _flags(recipe: Recipe) -> dict[str, str]:
    flags = skiffos.flags(recipe)
    return {"BR2_TARGET_OPTIMIZATION": f'"{flags}"'} if flags else {}


def externals(recipe: Recipe, places: Places) -> list[Path]:
    """All external trees: this builder's, and those of layers."""
    own = [] if recipe.skiffos else [places.external]
    return own + folders_of(recipe, "buildroot_ext")


def _generated(recipe: Recipe, wanted: Plan, places: Places, *, offline: bool) -> dict[str, str]:
    folder = places.external
    patches = [folder / "patches", *folders_of(recipe, "patches"), *folders_of(recipe, "buildroot_patches")]
    values: dict[str, Path | str] = {
        "BR2_PACKAGE_OVERRIDE_FILE": folder / "override.mk",
        "BR2_DL_DIR": places.downloads,
        "BR2_CCACHE_DIR": places.ccache,
        "BR2_GLOBAL_PATCH_DIR": _words(patches),
        "BR2_ROOTFS_USERS_TABLES": folder / "users",
        "BR2_TARGET_GENERIC_HOSTNAME": recipe.hostname,
    }
    if wanted.kernel:
        values["BR2_LINUX_KERNEL_CONFIG_FRAGMENT_FILES"] = folder / "kernel.config"
    if wanted.busybox:
        values["BR2_PACKAGE_BUSYBOX_CONFIG_FRAGMENT_FILES"] = folder / "busybox.config"
    if wanted.uboot:
        values["BR2_TARGET_UBOOT_CONFIG_FRAGMENT_FILES"] = folder / "uboot.config"
    for name, symbol in (
        ("kernel_patches", "BR2_LINUX_KERNEL_PATCH"),
        ("uboot_patches", "BR2_TARGET_UBOOT_PATCH"),
        ("root_overlay", "BR2_ROOTFS_OVERLAY"),
    ):
        if found := folders_of(recipe, name):
            values[symbol] = _words(found)
    for name, symbol in skiffos.HOOKS.items():
        if skiffos.hooks(recipe, name):
            values[symbol] = folder / f"{name.removesuffix('.sh')}_build.sh"
    lines = {symbol: f'"{value}"' for symbol, value in values.items()}
    if recipe.dtbs:
        lines["BR2_LINUX_KERNEL_DTS_SUPPORT"] = "y"
        names = " ".join(name.removesuffix(".dtb") for name in recipe.dtbs)
        lines["BR2_LINUX_KERNEL_INTREE_DTS_NAME"] = f'"{names}"'
        lines["BR2_LINUX_KERNEL_DTB_KEEP_DIRNAME"] = "y"
    if offline:
        lines["BR2_PRIMARY_SITE"] = f'"file://{places.downloads}"'
        lines["BR2_PRIMARY_SITE_ONLY"] = "y"
    return lines


def folders_of(recipe: Recipe, name: str) -> list[Path]:
    """The folder of that name of every layer that has one."""
    return [layer.path / name for layer in recipe.layers if (layer.path / name).is_dir()]


def _words(paths: list[Path]) -> str:
    for path in paths:
        if " " in str(path):
            raise UserError(
                f"{path}: Buildroot takes no path with a space in it", hint="move the layer elsewhere"
            )
    return " ".join(str(path) for path in paths)


def _users(recipe: Recipe) -> str:
    """Buildroot's table: name, number, group, its number, password, home, shell, further groups, remark."""
    lines = [f"- -1 {name} {number} - - - - -" for name, number in recipe.groups.items()]
    for user in recipe.users:
        home = "-" if user.home == "/nonexistent" else user.home
        groups = ",".join(user.groups) or "-"
        lines.append(
            f"{user.name} {user.uid} {user.name} {user.uid} * {home} {user.shell} {groups} {user.name}"
        )
    for layer in recipe.layers:
        if layer.skiffos:
            lines += [
                path.read_text().rstrip("\n")
                for path in sorted((layer.path / "users").glob("*"))
                if path.is_file()
            ]
    return "".join(f"{line}\n" for line in lines)


def _override(recipe: Recipe) -> str:
    """Make's lines that are read before the packages: sources and variables of layers."""
    lines = ["# Written by skiff from [buildroot] of the layers."]
    for package, source in recipe.buildroot_sources.items():
        name = make_name(package)
        if source.folder:
            if not Path(source.folder).is_dir():
                layer = recipe.origins.get(f"buildroot_sources[{package}]", "?")
                raise UserError(
                    f"layer {layer}: buildroot.source.{package}.folder: {source.folder}: no such folder",
                    hint="unpack the source there, or take the entry out",
                )
            lines.append(f"{name}_OVERRIDE_SRCDIR = {source.folder}")
        if source.version:
            lines.append(f"override {name}_VERSION = {source.version}")
        if source.file:
            lines.append(f"override {name}_SOURCE = {source.file}")
        if source.url:
            lines.append(f"override {name}_SITE = {source.url}")
    lines += [f"override {name} = {value}" for name, value in recipe.buildroot_variables.items()]
    return "\n".join(lines) + "\n"


def _hashes(recipe: Recipe) -> Mapping[str, str]:
    """Checksums of layers' own sources, where Buildroot looks for more than its own."""
    return {
        f"patches/{package}/{package}.hash": f"sha256  {source.sha256}  {source.file}\n"
        for package, source in recipe.buildroot_sources.items()
        if source.sha256
    }


def make_name(package: str) -> str:
    """A package's name as the variables of Buildroot's make have it: `util-linux` → `UTIL_LINUX`."""
    return package.upper().replace("-", "_").replace(".", "_")
