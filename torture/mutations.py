"""Damage to the boot partition: while one slot is whole, SSH answers."""

from __future__ import annotations

import random
from pathlib import Path

from skiff.host.run import run
from skiff.image.disk_fat import Fat
from tests.vm import disks
from tests.vm.driver import Device
from tests.vm.updates import running
from torture.card import set_state, whole_slots
from torture.course import Course
from torture.harm import strike
from torture.look import problem_until_off
from torture.verdict import Blow

# Seconds until SSH: a start that fails, the wait before the next one, and that one.
_PATIENCE = 240


def damage_cards(machine: Device, pristine: Path, course: Course) -> None:
    """Damage copies of a card with two whole slots, one place each, and start from them.

    The slot to start has one try: the others would only take longer.
    """
    for number in course.left:
        chance = course.chance(number)
        card = disks.copy(pristine, machine.files.card)
        set_state(card, chance.choice((b"a\x01g", b"b\x01g")))
        what = f"damage {number}: {_damage(card, chance)}"
        course.note(number, _start(machine, card, what))


def _damage(card: Path, chance: random.Random) -> str:
    """Change a place in what the boot partition uses; in words what was done."""
    start = disks.offset(card)
    return strike(card, start, Fat(card, start, 0, 0).used(), chance)


def _start(machine: Device, card: Path, what: str) -> Blow:
    whole = whole_slots(card)
    if not whole:
        return Blow(what, beyond=True)

    def look() -> None:
        machine.boot(_PATIENCE)
        slot = running(machine)
        assert slot in whole, f"slot {slot} was started, which is damaged"

    return Blow(what, problem_until_off(machine, look))


def two_slots(machine: Device, folder: Path) -> Path:
    """A copy of a machine's card on which slot b holds what slot a does; the machine is off."""
    card = disks.copy(machine.files.card, folder / "pristine")
    where = f"{card}@@{disks.offset(card)}"
    run(["mcopy", "-s", "-n", "-i", where, "::/a", folder / "slot"])
    for path in (folder / "slot", *sorted((folder / "slot").rglob("*"))):
        name = f"::/b/{path.relative_to(folder / 'slot')}".removesuffix("/.")
        make: list[str | Path] = ["mmd", "-i", where, name]
        copy: list[str | Path] = ["mcopy", "-o", "-i", where, path, name]
        run(make if path.is_dir() else copy, input=b"")
    return card
