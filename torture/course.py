"""The course of an attack: which of its cases are left, and what came of those that ended.

Hours of attacks outlive a terminal: what came of a case is on disk as soon as it has ended, and the next run
goes on from there.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from torture.verdict import Attack, Blow


class _Line(msgspec.Struct, frozen=True):
    """A case that has ended. ``image``: what tells those that were attacked from all others."""

    attack: str
    image: str
    seed: int
    number: int
    blow: Blow


class Record:
    """A file with a line of JSON for each case that has ended, of any image and seed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def lines(self) -> Iterator[_Line]:
        """All of them. A line that was cut short, by a disk that was full or power that went, is none."""
        text = self._path.read_bytes() if self._path.exists() else b""
        for line in text.splitlines():
            with contextlib.suppress(msgspec.DecodeError):
                yield msgspec.json.decode(line, type=_Line)

    def add(self, line: _Line) -> None:
        """Have one more on disk."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            # What comes after a line that was cut short begins a line of its own.
            file.write(b"\n" + msgspec.json.encode(line) + b"\n")
            file.flush()
            os.fsync(file.fileno())


class Course:
    """The cases of an attack, numbered from 1. Seed and number alone say what each is made of."""

    def __init__(
        self,
        name: str,
        count: int,
        seed: int,
        say: Callable[[str], None],
        record: Record | None = None,
        image: str = "",
    ) -> None:
        self._name, self._count, self._seed, self._say = name, count, seed, say
        self._record, self._image = record, image
        mine = (name, image, seed)
        self._blows = {
            line.number: line.blow
            for line in (record.lines() if record else ())
            if (line.attack, line.image, line.seed) == mine and line.number <= count
        }
        if self._blows:
            say(f"{name}: {len(self._blows)} of {count} were carried out before")

    @property
    def left(self) -> list[int]:
        """The cases that are to be carried out yet."""
        return [number for number in range(1, self._count + 1) if number not in self._blows]

    @property
    def attack(self) -> Attack:
        """What came of it so far."""
        return Attack(self._name, tuple(blow for _, blow in sorted(self._blows.items())))

    def chance(self, number: int) -> random.Random:
        """The same for a case whatever was carried out before it."""
        return random.Random(f"{self._name}, seed {self._seed}, case {number}")

    def note(self, number: int, blow: Blow) -> None:
        """A case has ended."""
        self._say(f"{blow.what}: {blow.problem or ('beyond help' if blow.beyond else 'stood')}")
        self._blows[number] = blow
        if self._record is not None:
            self._record.add(_Line(self._name, self._image, self._seed, number, blow))
