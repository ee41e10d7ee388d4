"""Whose bytes an image's are: each part's compressed bytes, shared among what is in it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from skiff.model.image import Manifest


class Row(msgspec.Struct, frozen=True):
    """One line of `skiff size`; both sizes in bytes."""

    name: str
    bytes: int
    # Share of its part's compressed bytes, in proportion to its own size.
    compressed: int


def ratios(manifest: Manifest) -> dict[str, float]:
    """Compressed bytes for each unpacked byte, by part."""
    unpacked: dict[str, int] = {}
    for fact in manifest.files:
        unpacked[fact.part] = unpacked.get(fact.part, 0) + fact.bytes
    return {part.name: part.bytes / max(1, unpacked.get(part.name, 0)) for part in manifest.parts}


def summed(shares: Iterable[tuple[str, int, float]]) -> list[Row]:
    """A row for each name, of its unpacked and compressed bytes; largest first."""
    sums: dict[str, tuple[int, float]] = {}
    for name, size, packed in shares:
        before = sums.get(name, (0, 0.0))
        sums[name] = (before[0] + size, before[1] + packed)
    rows = [Row(name, size, round(packed)) for name, (size, packed) in sums.items()]
    return sorted(rows, key=lambda row: (-row.compressed, row.name))
