"""Power cuts with a disk that loses its cache: what it was told to flush is there, and the rest is sound."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from skiff.host.run import run
from tests.vm import disks
from tests.vm.driver import Device
from torture.course import Course
from torture.engine import NUMBERS, churn, newest_of, whole
from torture.look import problem_until_off
from torture.verdict import Blow
from torture.writes import Entry, Replay, entries

# Seconds that the engine writes: enough for some thousands of writes.
_WRITING = 20
# Of so many cuts one is started from, besides being looked at.
_STARTED = 25


def lose_caches(machine: Device, course: Course) -> None:
    """Log what a furnished machine writes, and look at cuts in it.

    Of what was written since the last flush any part is lost, in any order, down to single sectors. The
    file system must come clean by what each boot does, and the container must have all that it flushed.
    """
    if not course.left:
        return
    with tempfile.TemporaryDirectory(dir=machine.files.root) as place:
        folder = Path(place)
        log = _log_writes(machine, folder)
        told = entries(log)
        replay = Replay(log, folder / "before")
        moments = _moments(told)
        chances = {number: course.chance(number) for number in course.left}
        points = {number: chance.choice(moments) for number, chance in chances.items()}
        done = 0
        # The log is gone through once.
        for number, point in sorted(points.items(), key=lambda each: each[1]):
            replay.play(told[done:point])
            done = point
            chance = chances[number]
            look = partial(_look, machine, replay, chance, folder, start=number % _STARTED == 1)
            what = f"cut {number}, after {point} of {len(told)} writes"
            course.note(number, Blow(what, problem_until_off(machine, look)))


def _moments(told: Sequence[Entry]) -> list[int]:
    """For each write the moment when the most is waiting: just before the next flush."""
    found, end = [], len(told)
    for number in range(len(told) - 1, 0, -1):
        if told[number].settles:
            end = number
        elif told[number].size:
            found.append(end)
    return found


def _log_writes(machine: Device, folder: Path) -> Path:
    """Let the engine write to a disk that logs, after it came up from it; the log."""
    log = folder / "log"
    log.touch()
    if machine.is_running():
        machine.cut_power()
    disks.copy(machine.persist, folder / "before")
    before = machine.options
    logged = "driver=blklogwrites,node-name=logged,file=bare,log=log,log-super-update-interval=1"
    machine.start(
        persist=False,
        extra=(
            *("-blockdev", f"driver=file,discard=unmap,node-name=bare,filename={machine.persist}"),
            *("-blockdev", f"driver=file,node-name=log,filename={log}"),
            *("-blockdev", logged),
            *("-device", "virtio-blk-pci,drive=logged,serial=persist"),
        ),
    )
    machine.wait_for_ssh()
    whole(machine, 0)
    churn(machine)
    machine.hold_for(_WRITING)
    machine.cut_power()
    machine.options = before
    return log


def _look(machine: Device, replay: Replay, chance: random.Random, folder: Path, *, start: bool) -> None:
    """Look at a cut now. Raises AssertionError."""
    # A number is begun when the one before it is on the disk.
    confirmed = _newest(replay.kept(folder / "kept")) - 1
    lost = replay.lost(folder / "lost", chance)
    newest = _newest(lost)
    assert newest >= confirmed, f"{confirmed} was flushed, and the newest number is {newest}"
    if start:
        disks.copy(lost, machine.persist)
        machine.boot()
        whole(machine, confirmed)


def _newest(disk: Path) -> int:
    """The container's newest number after what each boot does to a file system. Raises AssertionError."""
    with tempfile.TemporaryDirectory(dir=disk.parent) as folder:
        partition = disks.recovered(disk, Path(folder, "partition"))
        assert partition is not None, "the file system is not sound"
        return newest_of(run(["debugfs", "-R", f"cat {NUMBERS}", partition]).stdout.decode(errors="replace"))
