"""The persist partition is made, checked, repaired - and may fail in every way without taking SSH along."""

from __future__ import annotations

from collections.abc import Callable

from skiff.host.files import file_digest
from skiff.host.run import run
from tests.vm import disks
from tests.vm.disks import MIB
from tests.vm.driver import Device
from torture.course import Course
from torture.storage import CASES, fail_storage
from torture.verdict import verdict

MakeDevice = Callable[..., Device]

# What the persist contract promises on a new disk.
FOLDERS = ("keys", "network", "wifi", "overlay", "ssh", "core", "crew", "log")


def test_made_on_first_boot_and_grown_with_the_disk(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    disks.blank(machine.persist, 512 * MIB)
    machine.boot()
    machine.wait_for_persist()
    for name in FOLDERS:
        machine.succeed(f"test -d /mnt/persist/skiff/{name}")
    machine.succeed("echo mine >/mnt/persist/note; sync")
    before = _size(machine)
    assert 400 < before < 512
    machine.cut_power()
    with machine.persist.open("r+b") as file:
        file.truncate(2048 * MIB)
    machine.boot()
    machine.wait_for_persist()
    machine.wait_until_succeeds("test $(df -mP /mnt/persist | awk 'END { print $2 }') -gt 1800")
    assert machine.succeed("cat /mnt/persist/note") == "mine\n"
    course = Course("storage", CASES, 1, print)
    fail_storage(machine, course)
    assert verdict([course.attack]) == "verdict: all 4 attacks stood"
    assert machine.succeed("cat /mnt/persist/note") == "mine\n"


def _size(machine: Device) -> int:
    """Of the file system on persist, in MiB."""
    return int(machine.succeed("df -mP /mnt/persist | awk 'END { print $2 }'"))


def test_power_cut_while_the_partition_is_made(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    machine.start()
    machine.wait_for_console("new partition table")
    machine.cut_power()
    machine.boot()
    machine.wait_for_persist()
    machine.succeed("test -d /mnt/persist/skiff/keys")
    assert machine.failed() == {}


def test_a_disk_that_holds_something_else_is_left_alone(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    disks.blank(machine.persist, 64 * MIB)
    # Neither a partition table nor anything that is known: noise, as an encrypted disk is.
    disks.damage(machine.persist, 0, 8 * MIB)
    before = file_digest(machine.persist)
    machine.boot()
    assert "left alone" in machine.wait_for_unit("persist", "left alone").text
    machine.cut_power()
    assert file_digest(machine.persist) == before


def test_a_partition_that_is_not_ext4_is_left_alone(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    disks.foreign(machine.persist, "persist")
    before = file_digest(machine.persist)
    machine.boot()
    assert "is not ext4 but swap" in machine.wait_for_unit("persist", "not ext4").text
    machine.cut_power()
    assert file_digest(machine.persist) == before


def test_garbage_where_the_file_system_was(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    disks.partitioned(machine.persist, "persist", {"skiff/hostname": "gone\n"})
    disks.damage(machine.persist, disks.offset(machine.persist), 64 * MIB)
    machine.boot()
    unit = machine.wait_for_unit("persist", "cannot be repaired")
    assert unit.state == "fail"
    assert unit.hint


def test_a_damaged_superblock_is_repaired(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    disks.partitioned(machine.persist, "persist", {"note": "still here\n"}, size=256 * MIB)
    disks.damage_superblock(machine.persist)
    machine.boot()
    assert machine.wait_for_unit("persist", "damage repaired").state == "warn"
    assert machine.succeed("cat /mnt/persist/note") == "still here\n"


def test_a_full_disk(device: MakeDevice) -> None:
    machine = device("virt/qemu", "engine/docker")
    disks.partitioned(machine.persist, "persist", size=256 * MIB)
    machine.boot()
    machine.wait_for_persist()
    machine.execute(
        "dd if=/dev/zero of=/mnt/persist/all bs=1M; dd if=/dev/zero of=/mnt/persist/rest bs=512; sync"
    )
    machine.cut_power()
    machine.boot()
    assert machine.wait_for_unit("persist", "full").state == "fail"
    machine.succeed("rm /mnt/persist/all /mnt/persist/rest")
    # With room again the engine comes up without a restart of the device.
    machine.wait_for_engine()
    assert machine.failed() == {}


def test_a_disk_without_room_for_it(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    disks.partitioned(machine.persist, "others", {"note": "theirs\n"})
    before = file_digest(machine.persist)
    machine.boot()
    assert machine.wait_for_unit("persist", "unallocated").state == "fail"
    machine.cut_power()
    assert file_digest(machine.persist) == before


def test_a_disk_made_elsewhere_brings_names_and_keys(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    other = machine.files.root / "other"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "other", "-f", other])
    content = {
        "skiff/hostname": "roof-7\n",
        "skiff/keys/other.pub": other.with_suffix(".pub").read_text(),
    }
    disks.partitioned(machine.persist, "persist", content)
    machine.boot()
    assert machine.succeed("hostname") == "roof-7\n"
    machine.log_in_with(other)
    assert machine.succeed("hostname") == "roof-7\n"


def test_a_disk_that_hangs_from_the_start_costs_seconds(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    machine.boot()
    machine.wait_for_persist()
    machine.shut_down()
    machine.start()
    # Long before the kernel is there.
    machine.hang_disk(hang=True)
    machine.wait_for_ssh(90)
    machine.wait_for_unit("persist", "the first look at the disk is not over yet")
    machine.hang_disk(hang=False)
    machine.wait_for_persist()
    machine.succeed("test -d /mnt/persist/skiff/keys")
