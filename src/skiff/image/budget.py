"""What each layer adds to an image, and whether that is within its `size.budget`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from skiff.host.errors import UserError
from skiff.image.shares import Row, ratios, summed
from skiff.model.image import Artefact, Manifest

# Packages grow with Debian's fixes: a layer may be a little over.
TOLERANCE = 1.1
_NAMED = 4
# What the builder itself writes, and what only comes along with a package.
NOBODY = "(no layer)"


def by_layer(manifest: Manifest, artefacts: Sequence[Artefact]) -> list[Row]:
    """What each layer adds, largest first."""
    return summed((layer or NOBODY, size, packed) for layer, _, size, packed in _shares(manifest, artefacts))


def check_budgets(budgets: Mapping[str, float], manifest: Manifest, artefacts: Sequence[Artefact]) -> None:
    """Raise UserError for layers that add more than a tenth above their budget (10⁶ bytes)."""
    added = {row.name: row.compressed for row in by_layer(manifest, artefacts)}
    over = [name for name, most in budgets.items() if added.get(name, 0) > most * 1e6 * TOLERANCE]
    if not over:
        return
    lines = [
        f"layer {name} adds {added[name] / 1e6:.1f} MB, its budget is {budgets[name]:g} MB: "
        + ", ".join(
            f"{row.name} {row.compressed / 1e6:.1f}" for row in _origins(manifest, artefacts, name)[:_NAMED]
        )
        for name in over
    ]
    raise UserError(
        "; ".join(lines),
        hint="take something out (`debian.keep`, `trim.drop`), or allow more: `size.budget` in layer.toml",
    )


def _origins(manifest: Manifest, artefacts: Sequence[Artefact], layer: str) -> list[Row]:
    shares = _shares(manifest, artefacts)
    return summed((origin, size, packed) for name, origin, size, packed in shares if name == layer)


def _shares(manifest: Manifest, artefacts: Sequence[Artefact]) -> Iterator[tuple[str, str, int, float]]:
    """Layer, package, unpacked and compressed bytes of each file, and of the kernel."""
    ratio = ratios(manifest)
    for fact in manifest.files:
        yield fact.layer, fact.origin, fact.bytes, fact.bytes * ratio[fact.part]
    for item in artefacts:
        if item.name == "kernel":
            yield manifest.kernel_layer, "kernel", item.bytes, item.bytes
