"""The device boots, answers, lives in RAM, and takes a power cut."""

from __future__ import annotations

from collections.abc import Callable

from tests.vm import disks
from tests.vm.driver import Device

MakeDevice = Callable[..., Device]


def test_boots_answers_and_lives_in_ram(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    machine.boot()
    mounts = machine.succeed("cat /proc/mounts").splitlines()
    from_disk = {line.split()[1] for line in mounts if line.startswith(("/dev/vd", "/dev/sd"))}
    assert from_disk <= {"/mnt/persist"}
    assert any(line.split()[1:3] == ["/", "overlay"] for line in mounts)


def test_files_on_persist_survive_a_power_cut_and_others_do_not(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    machine.boot()
    machine.wait_for_persist()
    machine.succeed("echo kept >/mnt/persist/note; sync; echo lost >/root/note")
    machine.cut_power()
    assert disks.is_sound(machine.persist)
    machine.boot()
    machine.wait_until_succeeds("grep -q kept /mnt/persist/note", timeout=120)
    machine.fail("test -e /root/note")


def test_shuts_down_when_asked(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    machine.boot()
    machine.shut_down()
    assert not machine.is_running()
    assert "Power down" in machine.console()


def test_without_any_disk_it_still_answers(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    machine.start(persist=False)
    machine.wait_for_ssh()
    machine.fail("grep -q ' /mnt/persist ' /proc/mounts")
    machine.succeed("skiff-status | grep -i persist")
