"""Layers in their order → one Recipe: lists grow, tables and single values are overruled by later layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from skiff.host.errors import UserError
from skiff.layers.accounts import check_accounts
from skiff.layers.load import Layer
from skiff.model.arch import Arch
from skiff.model.layer import BuildrootSource, UserEntry
from skiff.model.recipe import Recipe

# Field of Recipe ← key of layer.toml.
_LISTS = {
    "packages": "debian.packages",
    "provided": "debian.provided",
    "trim_drop": "trim.drop",
    "trim_keep": "trim.keep",
    "trim_exports": "trim.exports",
    "trim_lines": "trim.lines",
    "programs": "tree.programs",
    "applets": "tree.applets",
    "early": "tree.early",
    "bytecode": "tree.bytecode",
    "modules": "kernel.modules",
    "boot_modules": "kernel.boot",
    "load_modules": "kernel.load",
    "firmware_optional": "kernel.firmware_optional",
    "cmdline": "kernel.cmdline",
    "device_python": "device.python",
    "dtbs": "disk.dtbs",
    "uboot_files": "uboot.files",
}
_TABLES = {
    "dirs": "tree.dirs",
    "links": "tree.links",
    "groups": "tree.groups",
    "buildroot_variables": "buildroot.variables",
    "buildroot_links": "buildroot.links",
}
# Lists of tables, each known by one of its keys: a later layer's replaces an earlier one of that name.
_NAMED = {
    "bases": ("debian.base", "path"),
    "raw": ("disk.raw", "name"),
    "boot_files": ("disk.files", "name"),
    "uboot_inputs": ("uboot.input", "name"),
}
_SINGLE = {
    "hostname": "device.hostname",
    "engine": "device.engine",
    "toolchain": "buildroot.toolchain",
    "qemu_memory": "qemu.memory",
    "qemu_cpus": "qemu.cpus",
    "disk_table": "disk.table",
    "disk_start": "disk.start",
    "disk_size": "disk.size",
    "uboot_defconfig": "uboot.defconfig",
    "uboot_target": "uboot.target",
    "kernel_source": "kernel.source",
    "kernel_base": "kernel.base",
    "compressor": "size.compressor",
}
_BY_ARCH = {
    "kernel_package": "kernel.package",
    "qemu_machine": "qemu.machine",
    "loader": "disk.loader",
    "load": "disk.load",
}

# Every field of Recipe that layers set ← its key in layer.toml.
FIELDS: dict[str, str] = {
    **_LISTS,
    "keep": "debian.keep",
    "bases": "debian.base",
    **_TABLES,
    "users": "tree.users",
    "raw": "disk.raw",
    "boot_files": "disk.files",
    "uboot_inputs": "uboot.input",
    "buildroot_sources": "buildroot.source",
    "budgets": "size.budget",
    **_BY_ARCH,
    **_SINGLE,
}


def merge(
    layers: Sequence[Layer],
    arch: Arch,
    authorized_keys: tuple[str, ...] = (),
    builder: str = "debian",
    kernel: str = "",
) -> Recipe:
    """The recipe for one CPU. ``kernel``: `package` or `source`, where that is not left to the layers.

    Raises UserError when a layer takes away what is not there, none sets a kernel for the CPU, or two
    accounts have one number.
    """
    merger = _Merger(arch)
    for layer in layers:
        merger.add(layer)
    if kernel:
        merger.single["kernel_source"] = kernel == "source"
        merger.origins["kernel_source"] = "--kernel"
    recipe = merger.recipe(layers, authorized_keys, builder)
    check_accounts(recipe, layers)
    return recipe


class _Merger:
    """What has been put together so far, and which layer set it."""

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        self.lists: dict[str, list[str]] = {field: [] for field in _LISTS}
        self.keep: dict[str, list[str]] = {}
        self.tables: dict[str, dict[str, Any]] = {field: {} for field in _TABLES}
        self.named: dict[str, dict[str, Any]] = {field: {} for field in _NAMED}
        self.users: dict[str, UserEntry] = {}
        self.sources: dict[str, BuildrootSource] = {}
        self.budgets: dict[str, float] = {}
        self.single: dict[str, Any] = {}
        self.origins: dict[str, str] = {}

    def add(self, layer: Layer) -> None:
        """Lay one more layer on top."""
        for field, key in _LISTS.items():
            words = list(_value(layer, key))
            if field == "packages":
                words += layer.file.debian.packages_for.get(self.arch.value, ())
            if field == "cmdline":
                words += layer.file.kernel.cmdline_for.get(self.arch.value, ())
            self._extend(self.lists[field], words, field, key, layer)
        for package, globs in layer.file.debian.keep.items():
            # A package once restricted stays so: a later layer adds to what is taken from it.
            have = self.keep.setdefault(package, [])
            self._extend(have, list(globs), f"keep[{package}]", f"debian.keep.{package}", layer)
            self.origins[f"keep[{package}]"] = layer.name
        for field, key in _TABLES.items():
            for name, value in _value(layer, key).items():
                self.tables[field][name] = value
                self.origins[f"{field}[{name}]"] = layer.name
        for field, (key, known_by) in _NAMED.items():
            for item in _value(layer, key):
                name = getattr(item, known_by)
                self.named[field][name] = item
                self.origins[f"{field}[{name}]"] = layer.name
        for user in layer.file.tree.users:
            self.users[user.name] = user
            self.origins[f"users[{user.name}]"] = layer.name
        for package, source in layer.file.buildroot.source.items():
            folder = str(layer.ref.path / source.folder) if source.folder else ""
            self.sources[package] = msgspec.structs.replace(source, folder=folder)
            self.origins[f"buildroot_sources[{package}]"] = layer.name
        if self.arch.value in layer.file.size.budget:
            self.budgets[layer.name] = layer.file.size.budget[self.arch.value]
            self.origins[f"budgets[{layer.name}]"] = layer.name
        for field, key in {**_SINGLE, **_BY_ARCH}.items():
            value = _value(layer, key)
            if isinstance(value, dict):
                value = value.get(self.arch.value)
            if value or value is False:
                self.single[field] = value
                self.origins[field] = layer.name

    def _extend(self, have: list[str], words: list[str], field: str, key: str, layer: Layer) -> None:
        """Append what is new. `-word` takes an earlier layer's word away, `-?word` does if it is there."""
        earlier = list(have)
        for word in words:
            if word.startswith("-") and len(word) > 1:
                self._remove(have, earlier, word, field, key, layer)
                continue
            if field == "modules":
                # Once needed by somebody, a module is needed: `?name` and `name` are one entry.
                name = word.removeprefix("?")
                if f"?{name}" in have:
                    have[have.index(f"?{name}")] = word
                    self.origins.pop(f"{field}[?{name}]", None)
                elif name in have:
                    word = name
            if word not in have:
                have.append(word)
            self.origins[f"{field}[{word}]"] = layer.name

    def _remove(
        self, have: list[str], earlier: list[str], word: str, field: str, key: str, layer: Layer
    ) -> None:
        optional = word.startswith("-?")
        name = word.removeprefix("-").removeprefix("?")
        hits = [item for item in (name, f"?{name}") if item in earlier and item in have]
        for item in hits:
            have.remove(item)
            self.origins.pop(f"{field}[{item}]", None)
        if not hits and not optional:
            raise UserError(
                f"{layer.toml}: {key}: nothing to take away: no earlier layer has {name!r}",
                hint=f'take "{word}" out, or write "-?{name}" if it may be missing',
            )

    def recipe(self, layers: Sequence[Layer], authorized_keys: tuple[str, ...], builder: str) -> Recipe:
        """All of it as a value."""
        # A package that a layer asks for by name is unpacked, though another thought it could do without.
        asked = set(self.lists["packages"])
        for name in [name for name in self.lists["provided"] if name in asked]:
            self.lists["provided"].remove(name)
            self.origins.pop(f"provided[{name}]", None)
        if builder == "debian" and "kernel_package" not in self.single:
            names = ", ".join(layer.name for layer in layers)
            raise UserError(
                f"no kernel package for {self.arch.value} in any of these layers: {names}",
                hint=f'set it in a layer of yours: [kernel.package] {self.arch.value} = "linux-image-…"',
            )
        # What is compiled, or compressed otherwise, is of another size.
        of_usual_size = builder == "debian" and self.single.get("compressor", "xz") == "xz"
        return Recipe(
            arch=self.arch,
            layers=tuple(layer.ref for layer in layers),
            **{field: tuple(words) for field, words in self.lists.items()},  # type: ignore[arg-type]
            keep={package: tuple(globs) for package, globs in self.keep.items()},
            **{field: tuple(items.values()) for field, items in self.named.items()},  # type: ignore[arg-type]
            **self.tables,  # type: ignore[arg-type]
            buildroot_sources=self.sources,
            users=tuple(self.users.values()),
            budgets=self.budgets if of_usual_size else {},
            **self.single,
            builder=builder,
            authorized_keys=authorized_keys,
            origins=self.origins,
        )


def _value(layer: Layer, key: str) -> Any:
    section, name = key.split(".")
    return getattr(getattr(layer.file, section), name)
