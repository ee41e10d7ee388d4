"""Storage that fails while the device runs: SSH lets newcomers in all the same, and the status tells why."""

from __future__ import annotations

from functools import partial

from tests.vm.driver import Device
from torture.course import Course
from torture.look import problem
from torture.verdict import Blow

_DISK = "/sys/class/block/$(cat /run/skiff/persist)"


def fail_storage(machine: Device, course: Course) -> None:
    """Have persist's disk fail in each way, in turn, on a machine that runs."""
    for number in course.left:
        what, attack = _WAYS[number - 1]
        blow = Blow(what, problem(partial(attack, machine)))
        course.note(number, blow)
        if blow.problem:
            # The next case finds a device that is well.
            if machine.is_running():
                machine.cut_power()
            machine.boot()
            machine.wait_for_persist()


def _crawl(machine: Device) -> None:
    machine.slow_disk(slow=True)
    # Far more than it will have written by the end.
    machine.succeed("{ head -c 4000000 /dev/urandom >/mnt/persist/flood; sync; } >/dev/null 2>&1 &")
    try:
        machine.wait_for_ssh()
        machine.execute("skiff-status", timeout=30)
    finally:
        machine.slow_disk(slow=False)
    machine.succeed("rm /mnt/persist/flood; sync")


def _hang(machine: Device) -> None:
    before = machine.boot_id()
    machine.hang_disk(hang=True)
    try:
        # Reads and writes that wait, and somebody who wants all to be on the disk.
        machine.succeed("{ head -c 4000000 /dev/urandom >/mnt/persist/flood; sync; } >/dev/null 2>&1 &")
        machine.succeed("cat /dev/$(cat /run/skiff/persist) >/dev/null 2>&1 &")
        machine.wait_for_ssh()
        machine.execute("reboot -n")
        machine.wait_for_console("the disk does not answer: restarting without it", 120)
    finally:
        # The emulated board itself does not start with such a disk.
        machine.hang_disk(hang=False)
    machine.wait_for_restart(before, 180)
    machine.wait_for_persist()


def _read_only(machine: Device) -> None:
    # The kernel's own means to try this (Documentation/ABI/testing/sysfs-fs-ext4).
    machine.succeed("echo test >/sys/fs/ext4/$(cat /run/skiff/persist)/trigger_fs_error")
    machine.wait_for_unit("persist", "read-only after errors")
    machine.wait_for_ssh()
    machine.succeed("skiff-doctor | grep -q 'The next start checks it'")


def _vanish(machine: Device) -> None:
    # As when it is unplugged; what is above it finds out by errors.
    machine.succeed(f"echo 1 >$(readlink -f {_DISK}/../device/..)/remove")
    machine.wait_for_unit("persist", "is gone")
    machine.wait_for_ssh()
    machine.succeed("echo 1 >/sys/bus/pci/rescan")
    machine.wait_for_persist()
    machine.wait_for_unit("persist", "/dev/vd")
    machine.succeed("logger kept again")
    machine.wait_until_succeeds("grep -q 'kept again' /mnt/persist/skiff/log/current")


_WAYS = (
    ("a disk that hardly answers", _crawl),
    ("a disk that hangs, and a restart", _hang),
    ("an error of the file system", _read_only),
    ("a disk that vanishes and comes back", _vanish),
)
CASES = len(_WAYS)
