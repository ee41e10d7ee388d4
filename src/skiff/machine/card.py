"""The disk that a virtual machine starts from: a disk image, written to it as one writes a card."""

from __future__ import annotations

import contextlib
from pathlib import Path

from skiff.host.errors import UserError
from skiff.host.files import write_atomic
from skiff.host.run import DEVNULL, PIPE, require, spawn
from skiff.machine.files import MachineFiles
from skiff.model.disk import DiskImage
from skiff.model.firmware import Firmware

_BLOCK = 1 << 20


def insert_card(files: MachineFiles, disk: DiskImage, room: int) -> None:
    """Have the machine's card hold this disk image; it is larger than that by ``room`` bytes (sparse).

    Nothing is done when it holds it already. A card that holds another one is written over as far as the
    image goes: the persist partition behind it stays. Raises UserError when the image cannot be read.
    """
    if files.card.exists() and _written(files) == disk.sha256:
        return
    new = not files.card.exists()
    if new:
        # A new card means new host keys.
        files.known_hosts.unlink(missing_ok=True)
    files.root.mkdir(parents=True, exist_ok=True)
    files.card_image.unlink(missing_ok=True)
    try:
        _write(disk, files.card, room)
    except BaseException:
        if new:
            files.card.unlink(missing_ok=True)
        raise
    write_atomic(files.card_image, disk.sha256.encode())


def _written(files: MachineFiles) -> str:
    with contextlib.suppress(FileNotFoundError):
        return files.card_image.read_text()
    return ""


def _write(disk: DiskImage, card: Path, room: int) -> None:
    require("zstd")
    with (
        card.open("r+b" if card.exists() else "w+b") as out,
        spawn(["zstd", "-dqc", disk.packed.path], stdin=DEVNULL, stdout=PIPE) as unpacker,
    ):
        assert unpacker.stdout is not None
        held = out.seek(0, 2)
        out.truncate(max(held, disk.bytes + room))
        at = 0
        while part := unpacker.stdout.read(_BLOCK):
            # Holes stay holes where nothing was before.
            if at < held or part.count(0) != len(part):
                out.seek(at)
                out.write(part)
            at += len(part)
        if unpacker.wait() != 0 or at != disk.bytes:
            raise UserError(f"{disk.packed.path}: cannot be unpacked", hint="make it anew with `skiff disk`")


def firmware_words(firmware: Firmware, files: MachineFiles, words: tuple[str, ...]) -> list[str]:
    """QEMU's words for a firmware that reads the card. ``words`` are added to the kernel's command line:
    systemd-boot takes them from the machine's SMBIOS (systemd-boot(7)); U-Boot has no such way."""
    if firmware.loader == "uboot":
        return [
            "-bios" if firmware.code.parent.name != "qemu-riscv64_smode" else "-kernel",
            str(firmware.code),
        ]
    flash = [
        *("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={_value(firmware.code)}"),
        *("-drive", f"if=pflash,unit=1,format=raw,file={_value(files.variables)}"),
    ]
    if not words:
        return flash
    text = _value(" ".join(words))
    return [*flash, "-smbios", f"type=11,value=io.systemd.boot.kernel-cmdline-extra={text}"]


def make_variables(firmware: Firmware, files: MachineFiles) -> None:
    """The machine's own copy of what UEFI remembers; made anew, so that every start is alike."""
    if firmware.variables is not None:
        files.variables.write_bytes(firmware.variables.read_bytes())


def _value(text: object) -> str:
    """Text inside a QEMU option list, where a comma is written twice."""
    return str(text).replace(",", ",,")
