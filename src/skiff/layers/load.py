"""Reads layer.toml into its type, and checks what types cannot say."""

from __future__ import annotations

import msgspec

from skiff.host import toml
from skiff.host.errors import UserError
from skiff.host.files import shown
from skiff.layers import skiffos
from skiff.layers.find import FILE, Search, available
from skiff.layers.parts import check_parts
from skiff.model.arch import Arch
from skiff.model.layer import LayerFile
from skiff.model.recipe import LayerRef


class Layer(msgspec.Struct, frozen=True):
    """A layer that was read: where it is, and what it says."""

    ref: LayerRef
    file: LayerFile

    @property
    def name(self) -> str:
        """Its name."""
        return self.ref.name

    @property
    def toml(self) -> str:
        """Its layer.toml, as messages show it."""
        return shown(self.ref.path / FILE)


def load(ref: LayerRef, *, bare: bool = False) -> Layer:
    """Read a layer. ``bare``: it may have no layer.toml, or one without description, as overrides may.

    Raises UserError that names file and key, or a folder with a misspelt name.
    """
    path = ref.path / FILE
    if ref.skiffos or (not bare and skiffos.is_package(ref.path)):
        return Layer(ref, skiffos.file_of(ref))
    if bare and not path.is_file():
        file = LayerFile(description=ref.name)
        check_parts(ref.path, file)
        return Layer(ref, file)
    data = toml.parse(path)
    if bare:
        data.setdefault("description", ref.name)
    layer = Layer(ref, toml.convert(path, data, LayerFile, "docs/reference/layer-toml.md"))
    _check_cpus(layer)
    _check_sums(layer)
    check_parts(ref.path, layer.file)
    return layer


def load_all(search: Search) -> tuple[list[Layer], list[UserError]]:
    """Every layer that can be asked for by name, and what is wrong with those that cannot be read."""
    layers: list[Layer] = []
    errors: list[UserError] = []
    for name, path in available(search).items():
        try:
            layers.append(load(LayerRef(name=name, path=path)))
        except UserError as error:
            errors.append(error)
    return layers, errors


def _check_cpus(layer: Layer) -> None:
    known = [arch.value for arch in Arch.bootable()]
    file = layer.file
    named = {
        "arch": file.arch,
        "debian.packages_for": file.debian.packages_for,
        "kernel.package": file.kernel.package,
        "kernel.cmdline_for": file.kernel.cmdline_for,
        "size.budget": file.size.budget,
        "qemu.machine": file.qemu.machine,
        "disk.loader": file.disk.loader,
        "disk.load": file.disk.load,
    }
    for key, names in named.items():
        for name in names:
            if name not in known:
                raise UserError(
                    f"{layer.toml}: {key}: unknown CPU {name!r}", hint=f"one of {', '.join(known)}"
                )


def _check_sums(layer: Layer) -> None:
    """Raise UserError for a checksum that nothing is checked with, and for a download without one."""
    for package, source in layer.file.buildroot.source.items():
        if source.sha256 and not source.file:
            raise UserError(
                f"{layer.toml}: buildroot.source.{package}: sha256 without file, the archive that it is for",
                hint="name the archive",
            )
    for item in layer.file.uboot.input:
        if item.url and not item.sha256:
            raise UserError(
                f"{layer.toml}: uboot.input: {item.name}: url without sha256", hint="`sha256sum` tells it"
            )
