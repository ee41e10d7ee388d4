"""From the layers asked for to all that are needed, each after what it requires."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from skiff.host.errors import UserError
from skiff.layers.find import Search, find
from skiff.layers.load import Layer, load
from skiff.model.arch import Arch
from skiff.model.recipe import LayerRef

BASE = "base"


def ordered(names: Sequence[str], search: Search, overrides: Sequence[LayerRef] = ()) -> list[Layer]:
    """`base` first, then the layers in the order asked for, each after those it requires; overrides last.

    Raises UserError for an unknown layer, a circle, two layers that exclude each other, or one that is
    nothing without another that nobody named.
    """
    walk = _Walk(search)
    for name in dict.fromkeys((BASE, *names)):
        walk.visit(name, base=None, wanted_by="")
    last = [load(ref, bare=True) for ref in overrides]
    for layer in last:
        walk.visit_required(layer)
    layers = [*walk.done.values(), *last]
    _check_conflicts(layers, walk.wanted_by)
    _check_needed(layers, walk.wanted_by, names)
    return layers


class _Walk:
    """Depth first through `requires`, remembering the way."""

    def __init__(self, search: Search) -> None:
        self.search = search
        # By name, in the order in which they are merged.
        self.done: dict[str, Layer] = {}
        # For a layer that another one brought in, that other one's name.
        self.wanted_by: dict[str, str] = {}
        self._way: list[str] = []

    def visit(self, name: str, *, base: Path | None, wanted_by: str) -> str:
        """Add a layer and all it requires; returns its own name."""
        ref = find(name, self.search, base=base, wanted_by=wanted_by)
        if ref.name in self.done:
            self._check_same(ref)
            return ref.name
        if ref.name in self._way:
            circle = " → ".join([*self._way[self._way.index(ref.name) :], ref.name])
            raise UserError(
                f"layers require each other in a circle: {circle}", hint="take one of them out of `requires`"
            )
        layer = load(ref)
        self._way.append(ref.name)
        self.visit_required(layer)
        self._way.pop()
        self.done[ref.name] = layer
        return ref.name

    def visit_required(self, layer: Layer) -> None:
        """Add what a layer requires. Paths there are relative to the layer's folder."""
        for name in layer.file.requires:
            found = self.visit(name, base=layer.ref.path, wanted_by=f"{layer.toml}: requires")
            self.wanted_by.setdefault(found, layer.name)

    def _check_same(self, ref: LayerRef) -> None:
        other = self.done[ref.name].ref
        if other.path.resolve() != ref.path.resolve():
            raise UserError(
                f"two layers are called {ref.name}: {other.path} and {ref.path}",
                hint="give one of the folders another name",
            )


def _check_conflicts(layers: Sequence[Layer], wanted_by: dict[str, str]) -> None:
    """Two that exclude each other, whichever of them says so."""
    by_name = {layer.name: layer for layer in layers}
    for layer in layers:
        for name in layer.file.conflicts:
            other = by_name.get(name)
            if other is None or other is layer:
                continue
            first, second = sorted((layer, other), key=layers.index)
            sayers = [
                one for one, two in ((first, second), (second, first)) if two.name in one.file.conflicts
            ]
            said = " and ".join(one.toml for one in sayers)
            brought = [
                f"{one.name} is required by {wanted_by[one.name]}"
                for one in (first, second)
                if one.name in wanted_by
            ]
            raise UserError(
                f"layers {first.name} and {second.name} exclude each other (conflicts in {said})",
                hint="; ".join(["leave one of them out", *brought]),
            )


def _check_needed(layers: Sequence[Layer], wanted_by: dict[str, str], names: Sequence[str]) -> None:
    """A choice that a layer leaves to the user, and that was not made."""
    there = {layer.name for layer in layers}
    for layer in layers:
        needed = layer.file.requires_one
        if not needed or there & set(needed):
            continue
        hint = f"name one of them too, as in {','.join((*names, needed[0]))}"
        if layer.name in wanted_by:
            hint += f"; {layer.name} is required by {wanted_by[layer.name]}"
        raise UserError(f"layer {layer.name} needs {' or '.join(needed)}", hint=hint)


def choose_arch(layers: Sequence[Layer], wish: Arch | None) -> Arch:
    """The CPU: the one wished for, else this machine's when all layers are for it, else one that all are for.

    Raises UserError when a layer is not for the CPU, or no CPU suits all.
    """
    if wish is not None:
        for layer in layers:
            if layer.file.arch and wish.value not in layer.file.arch:
                only = layer.file.arch
                raise UserError(
                    f"layer {layer.name} is for {' and '.join(only)}, not for {wish.value}",
                    hint=f"build with --arch {only[0]}, or leave the layer out",
                )
        return wish
    possible = [
        arch
        for arch in Arch.bootable()
        if all(not one.file.arch or arch.value in one.file.arch for one in layers)
    ]
    if not possible:
        each = "; ".join(f"{one.name}: {', '.join(one.file.arch)}" for one in layers if one.file.arch)
        raise UserError(f"no CPU suits all layers ({each})", hint="leave one of them out")
    try:
        here = Arch.host()
    except KeyError:
        return possible[0]
    return here if here in possible else possible[0]
