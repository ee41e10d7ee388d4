"""How many devices at a time, in which waves, and how many may fail."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from skiff.host.errors import UserError
from skiff.model.fleet import Host, Inventory

_PART = re.compile(r"(\d+)(%?)")


class Plan(msgspec.Struct, frozen=True):
    """In which order work goes over devices."""

    waves: tuple[tuple[Host, ...], ...]
    # Devices at work at the same time.
    jobs: int
    # With so many failures no further device begins; None: all are tried.
    limit: int | None = None


# Where nobody says: devices at work at the same time; for work that changes devices one first, then a quarter
# of all at a time, until one fails.
_JOBS, _WAVE, _FAILURES = 16, "1,25%", "1"


def ordered(
    inventory: Inventory,
    hosts: Sequence[Host],
    wave: str | None,
    failures: str | None,
    jobs: int | None,
    *,
    changes: bool,
) -> Plan:
    """The plan as the command line has it, where that says nothing as the file has it.

    What the file says of waves and failures holds for work that ``changes`` devices. Raises UserError as
    plan.
    """
    if changes:
        wave = wave or inventory.wave or _WAVE
        failures = failures or inventory.failures or _FAILURES
    said = next((number for number in (jobs, inventory.jobs) if number is not None), _JOBS)
    return plan(hosts, wave or "", failures or "", said)


def check(wave: str | None, failures: str | None, jobs: int | None) -> None:
    """Raises UserError for words that say nothing, however many devices there are."""
    plan((), wave or "", failures or "", 1 if jobs is None else jobs)


def plan(hosts: Sequence[Host], wave: str, failures: str, jobs: int) -> Plan:
    """The plan for what was asked. Raises UserError for words that say nothing."""
    if jobs < 1:
        raise UserError(f"jobs: {jobs}: expected a number of at least 1", hint="-j 16")
    limit = _count(failures, len(hosts), "failures", "1 or 10%", up=False) if failures else None
    return Plan(tuple(_cut(hosts, wave)), jobs, limit)


def _cut(hosts: Sequence[Host], wave: str) -> list[tuple[Host, ...]]:
    """Waves by sizes as `1,10,50%`: percents are of all, and the last size holds until the end."""
    parts = wave.split(",") if wave else ["100%"]
    sizes = [_count(part.strip(), len(hosts), "wave", "1,10,50%", up=True) for part in parts]
    waves: list[tuple[Host, ...]] = []
    start = 0
    while start < len(hosts):
        size = sizes[min(len(waves), len(sizes) - 1)]
        waves.append(tuple(hosts[start : start + size]))
        start += size
    return waves


def _count(text: str, total: int, what: str, example: str, *, up: bool) -> int:
    """A number, or percents of ``total``, at least 1; ``up`` tells to which side they are made whole."""
    match = _PART.fullmatch(text)
    number = int(match[1]) if match else 0
    if match is None or number < 1 or (match[2] and number > 100):
        raise UserError(f"{what}: {text!r}: expected numbers from 1, or percents", hint=f"as in {example}")
    if not match[2]:
        return number
    return max(1, -(-number * total // 100) if up else number * total // 100)
