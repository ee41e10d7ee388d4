"""Started by firmware from a disk image, as a board or a PC is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from skiff.__main__ import main
from skiff.host.run import run
from tests.vm.disks import MIB, extract, offset
from tests.vm.driver import Device

MakeDevice = Callable[..., Device]


def test_uefi_starts_a_pc_and_persist_is_on_the_same_disk(from_disk: MakeDevice) -> None:
    machine = from_disk("pc/uefi", shipped=True)
    machine.boot()
    machine.wait_for_persist()
    machine.succeed("test -d /sys/firmware/efi")
    assert "skiff.slot=a" in machine.succeed("cat /proc/cmdline")
    # All the room behind the image, where its copy of the partition table stood.
    assert int(machine.succeed("df -mP /mnt/persist | awk 'END { print $2 }'")) > 400
    machine.succeed("echo mine >/mnt/persist/note; sync")
    machine.cut_power()
    run(["sfdisk", "--verify", machine.files.card])
    # On trial: systemd-boot takes a try away by renaming the entry (mtools sees FAT as the firmware left it).
    boot = f"{machine.files.card}@@{16 * MIB}"
    run(["mren", "-i", boot, "::/loader/entries/skiff-a.conf", "skiff-a+3.conf"])
    machine.boot()
    machine.wait_for_persist()
    assert machine.succeed("cat /mnt/persist/note") == "mine\n"
    assert machine.failed() == {}
    assert b"skiff-a+2-1.conf" in run(["mdir", "-b", "-i", boot, "::/loader/entries"]).stdout


def test_uefi_starts_arm64(from_disk: MakeDevice) -> None:
    machine = from_disk("pc/uefi", "--arch", "arm64", shipped=True)
    machine.boot()
    machine.wait_for_persist()
    machine.succeed("test -d /sys/firmware/efi")


def test_a_card_that_is_flashed_again_keeps_persist(from_disk: MakeDevice) -> None:
    machine = from_disk("pc/uefi")
    machine.boot()
    machine.wait_for_persist()
    machine.succeed("echo mine >/mnt/persist/note; sync")
    machine.cut_power()
    card = machine.files.card
    fill(card, 2)
    assert machine.options.boot is not None
    image = machine.options.boot.disk.packed.path
    assert main(["flash", "--yes", "--image", str(image), "--to", str(card)]) == 0
    machine.boot()
    machine.wait_for_persist()
    assert machine.succeed("cat /mnt/persist/note") == "mine\n"
    assert "taking back" in machine.succeed("dmesg")
    assert machine.failed() == {}


def fill(card: Path, number: int) -> None:
    """Let a partition and its file system reach the last sector that they can, as the device grows them."""
    run(["sfdisk", "-q", "-N", str(number), card], input=b", +\n")
    alone = extract(card, card.with_name("alone"), number)
    assert run(["e2fsck", "-f", "-y", alone], check=False).returncode <= 1
    run(["resize2fs", alone])
    with alone.open("rb") as source, card.open("r+b") as target:
        target.seek(offset(card, number))
        while part := source.read(MIB):
            target.write(part)


def test_u_boot_starts_arm64_and_takes_the_slot_that_is_named(from_disk: MakeDevice) -> None:
    machine = from_disk("virt/qemu", "--arch", "arm64")
    machine.boot()
    machine.wait_for_persist()
    assert "skiff.slot=a" in machine.succeed("cat /proc/cmdline")
    # Slot b holds nothing yet: with it on trial, slot a is started, and is the one to start from then on.
    # Through the partition, as the device does: the disk as a whole has a page cache of its own.
    state = "/dev/vda1 bs=512 seek=16 conv=notrunc"
    machine.succeed(f"printf 'SKIFFST1b\\001t' | dd of={state}; sync")
    machine.cut_power()
    machine.boot()
    assert "Skiff: slot b" in machine.console()
    assert "skiff.slot=a" in machine.succeed("cat /proc/cmdline")
    # The guard sees to it at its second look, a minute after its first one.
    machine.wait_until_succeeds(
        "dd if=/dev/vda1 bs=512 skip=16 count=1 2>/dev/null | head -c 11 | grep -q SKIFFST1a.g", 180
    )
    # A slot without tries is not even looked at.
    machine.succeed(f"printf 'SKIFFST1b\\000t' | dd of={state}; sync")
    machine.cut_power()
    machine.boot()
    assert "no tries left" in machine.console()
    assert "Skiff: slot b" not in machine.console()
    # What chooses is there twice.
    machine.cut_power()
    card = machine.files.card
    script = f"-i {card}@@{offset(card)} ::/boot.scr".split()
    run(["mcopy", "-o", *script[:2], "-", script[2]], input=b"no script at all")
    machine.boot()
    assert "Wrong image format" in machine.console()
    assert "skiff.slot=a" in machine.succeed("cat /proc/cmdline")
