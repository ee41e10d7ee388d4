"""Damage to persist: whatever is broken on it, SSH answers and the status can be read."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from skiff.host.run import run
from tests.vm import disks
from tests.vm.apps import Repository, crew
from tests.vm.driver import Device, ProductFailure
from tests.vm.environments import BOX, configure
from torture.course import Course
from torture.harm import strike
from torture.look import problem_until_off
from torture.verdict import Blow

# Seconds until SSH: a check of the file system that repairs it, and a restart when that cannot be.
_PATIENCE = 240
# Bytes, as mke2fs chooses for partitions of 512 MB and more (mke2fs.conf).
_BLOCK = 4096
# Parts of the file system itself, by what of it they are.
_STRUCTURES = ("the partition table", "the superblock", "the group descriptors", "the inodes", "the journal")
# Folders of persist/skiff; all files in one are as likely as all in another.
_FOLDERS = ("overlay", "network", "keys", "ssh", "docker", "crew", "core", "log")

Place = tuple[int, int]


def furnish(machine: Device, folder: Path) -> None:
    """Start a machine for the first time, and have on its persist what a device in use has.

    An overlay with accounts and programs of its own, settings, keys, an app, an environment, images and logs.
    Raises ProductFailure.
    """
    machine.boot()
    machine.wait_for_engine_to_answer()
    machine.succeed(BOX, timeout=240)
    machine.succeed(
        "cd /mnt/persist/skiff && mkdir -p overlay/etc/profile.d overlay/usr/bin network &&"
        " cp /etc/passwd /etc/group /etc/shadow /etc/hosts overlay/etc &&"
        " cp /usr/bin/rsync overlay/usr/bin &&"
        " echo 'alias l=ls' >overlay/etc/profile.d/mine.sh && cp /root/.ssh/authorized_keys keys/mine.pub &&"
        " echo ADDRESS=192.0.2.7/24 >network/eth7.conf && echo torture >hostname"
    )
    configure(machine)
    machine.wait_for_unit("core", "running", 180)
    crew(machine, "apps:create shop")
    crew(machine, "config:set shop COLOUR=blue")
    shop = 'FROM box\nCMD ["sh", "-c", "exec httpd -f -p $PORT"]\n'
    status, shown = Repository(folder / "shop", Dockerfile=shop).push(machine, "shop")
    if status != 0:
        raise ProductFailure(f"the push failed: {shown}")


def damage_persist(machine: Device, folder: Path, course: Course) -> None:
    """Damage copies of the persist of a machine that runs, one place each, and start with them.

    Afterwards the machine is off, and its persist is as it was.
    """
    found = machine.succeed("sync; cd /mnt/persist && find skiff -type f -size +0").splitlines()
    machine.cut_power()
    pristine = disks.copy(machine.persist, folder / "pristine")
    # What was made last may be in the journal alone, and what was there a moment ago may be gone.
    files = _by_folder([name for name in found if _sizes(pristine, name)])
    for number in course.left:
        disk = disks.copy(pristine, machine.persist)
        what = f"damage {number}: {_damage(disk, files, course.chance(number))}"
        course.note(number, Blow(what, problem_until_off(machine, partial(_start, machine))))
    disks.copy(pristine, machine.persist)


def _by_folder(files: Sequence[str]) -> Mapping[str, Sequence[str]]:
    found = {folder: [name for name in files if name.startswith(f"skiff/{folder}/")] for folder in _FOLDERS}
    return {folder: names for folder, names in found.items() if names}


def _damage(disk: Path, files: Mapping[str, Sequence[str]], chance: random.Random) -> str:
    """Change a place; in words what was done."""
    part = chance.choice((*_STRUCTURES, *files))
    if part not in files:
        return f"{part}: {strike(disk, *chance.choice(list(_structure(disk, part))), chance)}"
    name = chance.choice(files[part])
    places = _blocks(disk, name)
    # One that is all hole has none.
    if not places or chance.random() < 0.25:
        return f"{name}: {_cut_short(disk, name, chance)}"
    return f"{name}: {strike(disk, *chance.choice(places), chance)}"


def _cut_short(disk: Path, name: str, chance: random.Random) -> str:
    """Let a file end sooner, as after a write that never came to its end."""
    size = _size(disk, name)
    left = chance.randrange(size)
    _ask(disk, f'set_inode_field "{name}" size {left}', write=True)
    return f"{left} of {size} bytes"


def _structure(disk: Path, part: str) -> Iterator[Place]:
    """Where a part of the file system is, in bytes of the disk."""
    if part == "the partition table":
        yield 0, 34 * 512
        return
    start = disks.offset(disk)
    shown = run(["dumpe2fs", f"{disk}?offset={start}"]).stdout.decode()
    if part == "the superblock":
        yield start + 1024, 1024
    elif part == "the group descriptors":
        # The first copy; backups are where the kernel never looks.
        first, last = re.findall(r"Group descriptors at (\d+)-(\d+)", shown)[0]
        yield start + int(first) * _BLOCK, (int(last) - int(first) + 1) * _BLOCK
    elif part == "the inodes":
        # Of the first group, where nearly all that are in use are. 256 bytes each.
        first, last = re.findall(r"Inode table at (\d+)-(\d+)", shown)[0]
        yield start + int(first) * _BLOCK, min(int(last) - int(first) + 1, 16) * _BLOCK
    elif part == "the journal":
        yield from _blocks(disk, "<8>")


def _blocks(disk: Path, name: str) -> list[Place]:
    """Where what is in a file is."""
    start, size = disks.offset(disk), _size(disk, name)
    numbers = _ask(disk, f'blocks "{name}"').split()
    return [
        (start + int(number) * _BLOCK, min(_BLOCK, size - index * _BLOCK))
        for index, number in enumerate(numbers)
    ]


def _size(disk: Path, name: str) -> int:
    return _sizes(disk, name)[0]


def _sizes(disk: Path, name: str) -> list[int]:
    """Of a file, in bytes; empty when there is none of that name."""
    return [int(size) for size in re.findall(r"Size: (\d+)", _ask(disk, f'stat "{name}"'))]


def _ask(disk: Path, request: str, *, write: bool = False) -> str:
    words = ["debugfs", *(["-w"] if write else []), "-R", request, f"{disk}?offset={disks.offset(disk)}"]
    return run(words).stdout.decode()


def _start(machine: Device) -> None:
    machine.boot(_PATIENCE)
    machine.succeed("skiff-status >/dev/null || test $? = 1", timeout=60)
