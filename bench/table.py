"""Figures as values: what was asked for, what was measured, and both as a table, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from skiff.host import json
from skiff.host.files import write_atomic

_HEAD = ("figure", "asked for", "measured", "reached", "how")
# What the tool's own message begins with (skiff.outcome).
_TOLD = "skiff: error: "


class Figure(msgspec.Struct, frozen=True):
    """One figure. Smaller is always better."""

    # Name that stays the same from run to run.
    key: str
    what: str
    # `MB` (10⁶ bytes), `MiB`, `s`, `×` for a ratio, or what is counted.
    unit: str
    # The largest value that is good; None when what it is compared with could not be had.
    limit: float | None = None
    # None: not measured, and ``note`` says why.
    value: float | None = None
    # Whose the limit is, when it was measured too.
    rival: str = ""
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether it is as good as asked for; None when one of both numbers is missing."""
        if self.value is None or self.limit is None:
            return None
        return self.value < self.limit if self.rival else self.value <= self.limit

    @property
    def asked(self) -> str:
        """What was asked for, in a few characters."""
        if self.limit is None:
            return f"less than {self.rival}" if self.rival else "-"
        if self.rival:
            return f"< {number(self.limit, self.unit)} ({self.rival})"
        # As it was asked for: without zeros that nobody wrote.
        return f"≤ {self.limit:g} {self.unit}"

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        measured = "-" if self.value is None else number(self.value, self.unit)
        reached = {None: "-", True: "yes", False: "no"}[self.reached]
        return (self.what, self.asked, measured, reached, self.note)


def reason(error: Exception) -> str:
    """Why a figure could not be measured, short enough for a row.

    Of a program of ours that failed its own message, and not the words by which it was called.
    """
    lines = str(error).splitlines() or [type(error).__name__]
    told = [line.partition(_TOLD)[2] for line in lines if _TOLD in line]
    return [*told, lines[0]][0][:120]


class Record(msgspec.Struct, frozen=True):
    """A figure as it is written down, ready for programs."""

    figure: Figure
    reached: bool | None
    # When it was measured: ISO 8601, UTC.
    measured: str
    # With fewer repetitions.
    quick: bool
    # What the machine was and did: CPUs, and its load average at the end.
    host: dict[str, str] = {}


def number(value: float, unit: str) -> str:
    """A value with as many digits as mean something."""
    if unit not in ("MB", "s", "×"):
        return f"{value:.0f} {unit}"
    digits = 1 if value >= 10 and unit != "×" else 2
    return f"{value:.{digits}f} {unit}"


def plain(figures: Iterable[Figure]) -> str:
    """The table for a terminal."""
    rows = [_HEAD, *(figure.cells for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join([lines[0], "-" * min(len(lines[0]) + 8, 110), *lines[1:]])


def markdown(figures: Iterable[Figure]) -> str:
    """The table for a page."""
    rows = [figure.cells for figure in figures]
    lines = ["| " + " | ".join(row) + " |" for row in [_HEAD, ("---",) * len(_HEAD), *rows]]
    return "\n".join(lines)


def merged(old: Sequence[Record], new: Sequence[Record], order: Sequence[str]) -> list[Record]:
    """All records in the order of the keys; a new one takes the place of an old one."""
    by_key = {record.figure.key: record for record in [*old, *new]}
    return [by_key[key] for key in order if key in by_key]


def load(path: Path) -> list[Record]:
    """The records written down last; none when there are none that can be read."""
    try:
        return json.decode(path.read_bytes(), list[Record])
    except (OSError, msgspec.DecodeError):
        return []


def save(path: Path, records: Sequence[Record]) -> None:
    """Write records down."""
    write_atomic(path, json.encode(list(records)))
