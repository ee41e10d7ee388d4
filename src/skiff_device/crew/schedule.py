"""Times of scheduled jobs: cron's five fields and names such as @daily, checked and written out for crond."""

from __future__ import annotations

import re

from skiff_device.common.errors import DeviceError
from skiff_device.crew import names

# busybox's crond knows no names of whole schedules.
_NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# Name, least and greatest value, words for values (the first stands for the least). Day 7 is Sunday too.
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)
_PART = re.compile(r"(?:\*|([a-z0-9]{1,3})(?:-([a-z0-9]{1,3}))?)(?:/([0-9]{1,2}))?")
_LONGEST = 200


def fields(text: str) -> str:
    """A schedule as five fields that every crond reads alike, `*` or numbers. Raises DeviceError."""
    words = _NAMED.get(text.strip(), text).lower().split() if len(text) <= _LONGEST else []
    if len(words) != len(_FIELDS):
        raise DeviceError(
            f"{names.shown(text)!r} is no schedule",
            "five fields such as '*/10 * * * *', or @hourly, @daily, @weekly, @monthly, @yearly",
        )
    return " ".join(_field(word, *about) for word, about in zip(words, _FIELDS, strict=True))


def _field(word: str, name: str, low: int, high: int, texts: tuple[str, ...]) -> str:
    # A `*` stays: with it the other one of day and day of the week decides alone.
    if word == "*":
        return word
    found: set[int] = set()
    for part in word.split(","):
        match = _PART.fullmatch(part)
        first = last = step = -1
        if match is not None:
            step = int(match[3] or 1)
            first = low if match[1] is None else _value(match[1], low, texts)
            last = (
                _value(match[2], low, texts) if match[2] else high if match[1] is None or match[3] else first
            )
        if step < 1 or not low <= first <= last <= high:
            raise DeviceError(f"{name}: {names.shown(part)!r} is nothing from {low} to {high}", "see cron")
        found |= set(range(first, last + 1, step))
    if texts is _DAYS:
        found = {value % 7 for value in found}
    return ",".join(map(str, sorted(found)))


def _value(word: str, low: int, texts: tuple[str, ...]) -> int:
    if word in texts:
        return low + texts.index(word)
    return int(word) if word.isdigit() else -1
