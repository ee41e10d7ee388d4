"""The overlay changes files of the system in RAM, and no overlay keeps SSH from answering."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from skiff.machine.files import Disk
from tests.vm import disks
from tests.vm.disks import MIB
from tests.vm.driver import Device

MakeDevice = Callable[..., Device]

OVERLAY = "skiff/overlay"

# The limit of 20 seconds is for a device of its own; a host that runs several tests may be slower.
PATIENT = ("skiff.overlay_timeout=200",)


def test_files_of_the_overlay_lie_over_the_system(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    content = {
        f"{OVERLAY}/etc/motd": "on the roof\n",
        f"{OVERLAY}/etc/hostname": "overlaid\n",
        f"{OVERLAY}/opt/deep/er/file": "new\n",
        # A folder where the system has a link into /usr.
        f"{OVERLAY}/bin/greet": "#!/bin/sh\necho hello\n",
    }
    disks.partitioned(machine.persist, "persist", content)
    machine.start(append=PATIENT)
    machine.wait_for_ssh()
    assert machine.succeed("cat /etc/motd") == "on the roof\n"
    assert machine.succeed("cat /opt/deep/er/file") == "new\n"
    assert machine.succeed("hostname") == "overlaid\n"
    assert machine.succeed("sh /usr/bin/greet; readlink /bin") == "hello\nusr/bin\n"
    assert machine.units()["overlay"].state == "ok"
    # What runs does not write to the overlay, and the overlay is not in use any more.
    machine.succeed("echo changed >/etc/motd")
    machine.wait_for_persist()
    assert machine.succeed(f"cat /mnt/persist/{OVERLAY}/etc/motd") == "on the roof\n"


def test_written_on_the_device_it_is_there_after_the_next_start(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    machine.start(append=PATIENT)
    machine.wait_for_ssh()
    machine.wait_for_persist()
    machine.succeed(f"cd /mnt/persist/{OVERLAY} && mkdir etc && echo later >etc/motd && sync")
    machine.cut_power()
    machine.boot()
    assert machine.succeed("cat /etc/motd") == "later\n"
    assert machine.failed() == {}


def test_the_partition_labelled_rootfs_goes_first(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    disks.partitioned(machine.persist, "persist", {f"{OVERLAY}/etc/motd": "of persist\n"})
    second = disks.partitioned(
        machine.files.root / "second.img", "rootfs", {"etc/motd": "of the partition\n"}
    )
    machine.start(disks=(Disk(second),), append=PATIENT)
    machine.wait_for_ssh()
    assert machine.succeed("cat /etc/motd") == "of the partition\n"
    assert "rootfs" in machine.units()["overlay"].text
    # Only while it is copied.
    machine.wait_for_persist()
    machine.wait_until_succeeds("! grep -q /run/skiff/rootfs /proc/mounts")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("etc/passwd", "this is no account\n"),
        ("etc/passwd", "root:x:0:0:root:/root:/bin/nothing\n"),
        ("etc/shadow", ""),
        ("usr/sbin/dropbear", "not a program\n"),
        ("usr/bin/busybox", "not a program\n"),
        ("etc/service/ssh/run", "#!/bin/sh\nexit 1\n"),
    ],
)
def test_ssh_outlives_what_the_overlay_breaks(device: MakeDevice, path: str, text: str) -> None:
    machine = device("virt/qemu")
    content = {
        f"{OVERLAY}/{path}": text,
        # A folder of the image, with all keys.
        f"{OVERLAY}/root/.ssh": "this is no folder\n",
        f"{OVERLAY}/etc/motd": "on the roof\n",
    }
    disks.partitioned(machine.persist, "persist", content)
    machine.start(append=PATIENT)
    machine.wait_for_ssh(180)
    unit = machine.units()["overlay"]
    assert unit.state == "fail"
    assert "everything" in unit.text or (f"/{path}" in unit.text and "/root/.ssh" in unit.text)
    assert unit.hint
    machine.wait_for_persist()


def test_an_endless_pile_of_files_is_skipped(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    pile = {f"{OVERLAY}/srv/{number % 100}/{number}": "" for number in range(20_000)}
    disks.partitioned(machine.persist, "persist", pile, size=256 * MIB)
    machine.start(memory=256, append=PATIENT)
    machine.wait_for_ssh()
    unit = machine.units()["overlay"]
    assert (unit.state, "skipped: more than" in unit.text) == ("fail", True)
    machine.fail("test -e /srv/7")


def test_more_than_memory_can_hold_is_skipped(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    content: dict[str, str | bytes] = {
        f"{OVERLAY}/srv/film": b"film" * (24 * MIB),
        f"{OVERLAY}/etc/motd": "on the roof\n",
    }
    disks.partitioned(machine.persist, "persist", content, size=256 * MIB)
    machine.start(memory=256, append=PATIENT)
    machine.wait_for_ssh()
    unit = machine.units()["overlay"]
    assert (unit.state, "MiB of memory" in unit.text) == ("fail", True)
    machine.fail("test -e /srv/film")


def test_an_unreadable_overlay_is_skipped(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    second = disks.foreign(machine.files.root / "second.img", "rootfs")
    disks.partitioned(machine.persist, "persist")
    machine.start(disks=(Disk(second),), append=PATIENT)
    machine.wait_for_ssh()
    assert "cannot be mounted" in machine.units()["overlay"].text


def test_an_overlay_with_damaged_files_is_reported(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    content = {f"{OVERLAY}/srv/{number}": "x" * 5000 for number in range(50)}
    disks.partitioned(machine.persist, "persist", content)
    # Inodes from the middle of the table on: what they describe cannot be read any more.
    table = disks.inode_table(machine.persist)
    disks.damage(machine.persist, table + 256 * 30, 256 * 20)
    machine.start(append=PATIENT)
    machine.wait_for_ssh()
    assert machine.units()["overlay"].state == "fail"
    machine.wait_for_unit("persist", "damage repaired")
