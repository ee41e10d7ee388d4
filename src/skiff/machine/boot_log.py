"""A boot as a timeline: what the kernel's log tells with `skiff.trace` on the command line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import msgspec

from skiff.host.errors import UserError

# Words for the kernel's command line that make a log with everything in it.
# Times are asked for too: not every kernel writes them by itself.
WORDS = ("skiff.trace", "initcall_debug", "printk.time=1", "log_buf_len=1M")

_LINE = re.compile(r"^(?:<\d+>)?\[ *(\d+\.\d+)\] (.*)$")
_STEP = re.compile(r"skiff-trace: (.+)$")
_INITCALL = re.compile(r"initcall (\w+).* returned -?\d+ after (\d+) usecs")
_INIT = "Run /init as init process"
# The lanes from top to bottom.
LANES = ("kernel", "init", "boot", "network", "ssh", "persist", "engine")


class Span(msgspec.Struct, frozen=True):
    """Something that took its time, in seconds since the kernel's start."""

    lane: str
    name: str
    start: float
    end: float


class Boot(msgspec.Struct, frozen=True):
    """One boot: whole lanes, what was done within them, and drivers of the kernel that took long."""

    lanes: tuple[Span, ...]
    steps: tuple[Span, ...]
    initcalls: tuple[Span, ...]

    @property
    def end(self) -> float:
        """When the last of it was done."""
        return max(span.end for span in self.lanes)


def read_boot(log: str) -> Boot:
    """The timeline in a kernel's log, as dmesg prints it. Raises UserError when it tells none."""
    at: dict[str, float] = {}
    initcalls = []
    for time, text in _lines(log):
        if found := _STEP.search(text):
            # A service that started again was there before.
            at.setdefault(_known(found[1]), time)
        elif found := _INITCALL.search(text):
            took = int(found[2]) / 1e6
            initcalls.append(Span("kernel", found[1], max(0.0, time - took), time))
        elif _INIT in text:
            at.setdefault("init: start", time)
    if "boot: start" not in at:
        raise UserError(
            "the kernel's log tells no steps of the boot",
            hint=f"start it with `skiff run --detach --restart {' '.join(f'--append {w}' for w in WORDS)}`",
        )
    lanes = tuple(_lanes(at))
    return Boot(lanes, tuple(_steps(at)), tuple(initcalls))


def _lines(log: str) -> Iterator[tuple[float, str]]:
    for line in log.splitlines():
        if found := _LINE.match(line):
            yield float(found[1]), found[2]


def _known(step: str) -> str:
    """The step's name; an address that came is a step of the network whatever it is."""
    return "network: address" if step.startswith("network: ") else step


def _lanes(at: dict[str, float]) -> Iterator[Span]:
    """What of the way from kernel to engine this boot has."""
    ends = (
        ("kernel", None, ("init: start", "boot: start")),
        ("init", "init: start", ("boot: start",)),
        ("boot", "boot: start", ("boot: done",)),
        ("network", "boot: drivers", ("network: address",)),
        ("ssh", "ssh: start", ("services: start",)),
        ("persist", "persist: start", ("persist: mounted",)),
        ("engine", "persist: mounted", ("engine: ready",)),
    )
    for lane, begin, until in ends:
        end = next((at[name] for name in until if name in at), None)
        start = 0.0 if begin is None else at.get(begin)
        if start is not None and end is not None and end >= start:
            yield Span(lane, lane, start, end)


def _steps(at: dict[str, float]) -> Iterator[Span]:
    """Within a lane each step lasts from the one before it."""
    by_lane: dict[str, list[tuple[float, str]]] = {}
    for name, time in at.items():
        lane, _, what = name.partition(": ")
        by_lane.setdefault(lane, []).append((time, what))
    for lane, found in by_lane.items():
        found.sort()
        for (start, _), (end, what) in pairwise(found):
            yield Span(lane, what, start, end)
