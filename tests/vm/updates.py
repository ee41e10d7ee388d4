"""What tests of updates share: a slot's files of an image, and the way to a device."""

from __future__ import annotations

import shutil
from pathlib import Path

from skiff.image.slot import write_slot
from skiff.machine import ssh
from skiff.machine.remote import Remote
from skiff.model.image import Image
from tests.vm.driver import Device


def remote(machine: Device) -> Remote:
    """How verbs reach it."""
    words = ssh.argv(machine.target(), batch=True, connect_timeout=10)
    return Remote(tuple(words[:-1]), words[-1])


def boot_and_keep_key(machine: Device) -> None:
    """Start it and let its key in by persist: images of other workspaces do not know it."""
    machine.boot()
    machine.wait_for_persist()
    machine.succeed("cp /root/.ssh/authorized_keys /mnt/persist/skiff/keys/test.pub; sync")


def slot_of(image: Image, folder: Path, cache: Path, key: Path | None = None) -> Path:
    """The files of a slot with this image."""
    folder.mkdir()
    write_slot(folder, image, cache, key)
    return folder


def with_words(slot: Path, folder: Path, *words: str) -> Path:
    """The same slot, with more words on the kernel's command line (where the manifest says it: UEFI)."""
    shutil.copytree(slot, folder, symlinks=True)
    lines = (folder / "manifest").read_text().splitlines()
    more = [f"{line} {' '.join(words)}" if line.startswith("cmdline ") else line for line in lines]
    (folder / "manifest").write_text("".join(f"{line}\n" for line in more))
    return folder


def running(machine: Device) -> str:
    """The slot that it was started from."""
    words = machine.succeed("cat /proc/cmdline").split()
    return next(word.removeprefix("skiff.slot=") for word in words if word.startswith("skiff.slot="))


def damage(machine: Device, slot: str) -> None:
    """Change a few bytes in the middle of a slot's initramfs."""
    machine.succeed(
        "mkdir -p /tmp/boot; mount -t vfat /dev/vda1 /tmp/boot && cd /tmp/boot &&"
        f" dd if=/dev/urandom of={slot}/initramfs bs=1 count=9 seek=$(($(stat -c %s {slot}/initramfs) / 2))"
        " conv=notrunc; cd /; umount /tmp/boot"
    )
