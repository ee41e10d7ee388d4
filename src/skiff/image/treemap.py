"""A picture of an image's bytes: one field for each file, grouped by package (squarified treemap)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from html import escape

from skiff.image.shares import ratios
from skiff.model.image import Image, Manifest

WIDTH, HEIGHT = 1200.0, 800.0
Box = tuple[float, float, float, float]
Item = tuple[float, str]


def squarify(items: Sequence[Item], box: Box) -> Iterator[tuple[Item, Box]]:
    """Fields for weighted items, as square as rows allow.

    The algorithm is Bruls, Huizing and van Wijk's, "Squarified Treemaps" (2000).
    """
    todo = sorted((item for item in items if item[0] > 0), reverse=True)
    total = sum(weight for weight, _ in todo)
    x, y, width, height = box
    while todo:
        scale = width * height / total
        side = min(width, height)
        count = _row(todo, side, scale)
        row, todo = todo[:count], todo[count:]
        weight = sum(item[0] for item in row)
        thick = weight * scale / side
        along = 0.0
        for item in row:
            length = item[0] / weight * side
            field = (x, y + along, thick, length) if width >= height else (x + along, y, length, thick)
            yield item, field
            along += length
        if width >= height:
            x, width = x + thick, width - thick
        else:
            y, height = y + thick, height - thick
        total -= weight


def _row(items: Sequence[Item], side: float, scale: float) -> int:
    """How many of the items make the row with the best worst shape."""
    best = float("inf")
    weight = 0.0
    for count, (size, _) in enumerate(items, 1):
        weight += size
        area = weight * scale
        largest, smallest = items[0][0] * scale, size * scale
        worst = max(side * side * largest / area**2, area**2 / (side * side * smallest))
        if worst > best:
            return count - 1
        best = worst
    return len(items)


def treemap_svg(image: Image, manifest: Manifest) -> str:
    """The treemap as an SVG document; each field's title tells path and bytes."""
    ratio = ratios(manifest)
    groups: dict[str, list[Item]] = {"kernel": [(float(image.artefact("kernel").bytes), "kernel")]}
    for fact in manifest.files:
        groups.setdefault(fact.origin, []).append((fact.bytes * ratio[fact.part], f"/{fact.path}"))
    weights = [(sum(weight for weight, _ in items), name) for name, items in groups.items()]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" '
        'font-family="sans-serif" font-size="12">'
    ]
    for (weight, name), box in squarify(weights, (0, 0, WIDTH, HEIGHT)):
        hue = zlib.crc32(name.encode()) % 360
        for (size, path), field in squarify(groups[name], box):
            lines.append(_field(field, hue, f"{path} ({name}): {size / 1e3:.0f} kB"))
        if box[2] > 60 and box[3] > 16:
            text = escape(f"{name} {weight / 1e6:.1f} MB"[: int(box[2] / 6.5)])
            lines.append(f'<text x="{box[0] + 4:.1f}" y="{box[1] + 14:.1f}">{text}</text>')
    return "\n".join([*lines, "</svg>\n"])


def _field(box: Box, hue: int, title: str) -> str:
    x, y, width, height = box
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="hsl({hue},55%,78%)" '
        f'stroke="#fff" stroke-width="0.5"><title>{escape(title)}</title></rect>'
    )
