"""A picture of a boot: kernel, init, network, SSH and engine along one axis of time, as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from skiff.machine.boot_log import LANES, Boot, Span

_LEFT, _TOP, _WIDTH, _ROW = 90.0, 34.0, 1080.0, 26.0
# Of the kernel's own drivers those are shown by name that take this many seconds, the longest at most.
_LONG, _MOST = 0.01, 12
_COLOURS = {
    "kernel": "#7b8fb5",
    "init": "#c2a45c",
    "boot": "#d08c5f",
    "network": "#6aa17e",
    "ssh": "#b3575b",
    "persist": "#8f78b0",
    "engine": "#4f93a8",
}


def longest(spans: Sequence[Span]) -> list[Span]:
    """The drivers that are worth a line of their own, in the order of the boot."""
    chosen = sorted(spans, key=lambda span: span.start - span.end)[:_MOST]
    return sorted((span for span in chosen if span.end - span.start >= _LONG), key=lambda span: span.start)


def boot_svg(boot: Boot, title: str) -> str:
    """The chart as an SVG document; each field's title tells what, from when to when."""
    rows = list(_rows(boot))
    scale = _WIDTH / max(boot.end, 0.001)
    height = _TOP + _ROW * len(rows) + 10
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 30:.0f} {height:.0f}" '
        'font-family="sans-serif" font-size="12">',
        f"<text x='4' y='14' font-weight='bold'>{escape(title)}</text>",
        *_axis(boot.end, scale, height),
    ]
    for number, (label, spans) in enumerate(rows):
        y = _TOP + _ROW * number
        lines.append(f'<text x="4" y="{y + 16:.1f}">{escape(label)}</text>')
        lines += [_field(span, y, scale) for span in spans]
        if len(spans) == 1:
            lines.append(_caption(spans[0], y, scale))
    return "\n".join([*lines, "</svg>\n"])


def _rows(boot: Boot) -> Iterator[tuple[str, list[Span]]]:
    """Lines of the chart with their label: each lane, and below it what was done in it."""
    lanes = {span.lane: span for span in boot.lanes}
    for lane in LANES:
        if lane not in lanes:
            continue
        yield lane, [lanes[lane]]
        inner = longest(boot.initcalls) if lane == "kernel" else _inner(boot, lane)
        for span in inner:
            yield "", [span]


def _inner(boot: Boot, lane: str) -> list[Span]:
    found = [span for span in boot.steps if span.lane == lane]
    # One step alone is the lane itself.
    return found if len(found) > 1 else []


def _axis(end: float, scale: float, height: float) -> Iterator[str]:
    """A line for every second, or fewer when there are many."""
    step = max(1, round(end / 12))
    for second in range(0, int(end) + 1, step):
        x = _LEFT + second * scale
        yield f'<line x1="{x:.1f}" y1="{_TOP - 8:.0f}" x2="{x:.1f}" y2="{height:.0f}" stroke="#ddd"/>'
        yield f'<text x="{x:.1f}" y="{_TOP - 12:.0f}" text-anchor="middle" fill="#666">{second} s</text>'


def _field(span: Span, y: float, scale: float) -> str:
    whole = span.name == span.lane
    width = max((span.end - span.start) * scale, 1.0)
    told = f"{span.lane}: {span.name}, {span.start:.3f} s to {span.end:.3f} s"
    return (
        f'<rect x="{_LEFT + span.start * scale:.1f}" y="{y + (3 if whole else 6):.1f}" width="{width:.1f}" '
        f'height="{18 if whole else 12}" fill="{_COLOURS[span.lane]}" fill-opacity="{1 if whole else 0.55}">'
        f"<title>{escape(told)}</title></rect>"
    )


def _caption(span: Span, y: float, scale: float) -> str:
    """Name and time beside the field: after it, or before it where the chart ends."""
    text = f"{span.end - span.start:.2f} s" if span.name == span.lane else span.name
    right = _LEFT + span.end * scale
    if right + 7 * len(text) < _LEFT + _WIDTH + 30:
        return f'<text x="{right + 4:.1f}" y="{y + 16:.1f}">{escape(text)}</text>'
    left = _LEFT + span.start * scale - 4
    return f'<text x="{left:.1f}" y="{y + 16:.1f}" text-anchor="end">{escape(text)}</text>'
