"""Power cuts at random moments of an update: a slot is whole after each, and SSH answers."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from skiff.host.errors import UserError
from skiff.host.ui import Ui
from skiff.machine.push import Wish, push
from tests.vm.driver import Device, ProductFailure
from tests.vm.updates import boot_and_keep_key, remote, running
from torture.card import whole_slots
from torture.course import Course
from torture.look import problem
from torture.verdict import Blow

# Little patience: a machine that was cut does not come back by itself.
_WISH = Wish(tries=2, confirm_within=120, patience=20, again=True)


def cut_updates(machine: Device, slots: Sequence[Path], course: Course) -> None:
    """Push two images by turns to a machine that runs, and pull the plug somewhere in it; it runs afterwards.

    The moments are spread over what a whole update takes, its restart and its trial included.
    """
    if not course.left:
        return
    length = _measure(machine, slots[0])
    for number in course.left:
        moment = course.chance(number).uniform(0, length)
        what = f"cut {number}, {moment:.1f} s into an update"
        _cut_within(machine, slots[number % len(slots)], moment)
        course.note(number, Blow(what, problem(partial(_look, machine))))
        if not machine.is_running():
            # It did not start from this card.
            machine.files.card.unlink()
            boot_and_keep_key(machine)


def _measure(machine: Device, slot: Path) -> float:
    started = time.monotonic()
    push(remote(machine), slot, Wish(again=True), Ui(quiet=True))
    return time.monotonic() - started


def _cut_within(machine: Device, slot: Path, moment: float) -> None:
    def update() -> None:
        # It ends in one of many ways when the device goes away.
        with contextlib.suppress(UserError):
            push(remote(machine), slot, _WISH, Ui(quiet=True))

    # Who interrupts this does not wait for it.
    thread = threading.Thread(target=update, daemon=True)
    thread.start()
    machine.hold_for(moment)
    machine.cut_power()
    thread.join()


def _look(machine: Device) -> None:
    """Start a machine after a cut. Raises AssertionError; one that did not come up is off then."""
    whole = whole_slots(machine.files.card)
    try:
        machine.boot()
        slot = running(machine)
    except ProductFailure:
        if machine.is_running():
            machine.cut_power()
        raise
    assert slot in whole, f"slot {slot} was started, whole were: {', '.join(whole) or 'none'}"
