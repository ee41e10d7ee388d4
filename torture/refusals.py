"""Updates that are not for this device, or were tampered with: each is refused, and nothing has changed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from skiff.host.errors import UserError
from skiff.host.files import digest
from skiff.host.keys import sign
from skiff.host.run import run
from skiff.host.ui import Ui
from skiff.image.slot import NAMESPACE
from skiff.machine.push import send
from tests.vm.driver import Device
from tests.vm.updates import remote, running
from torture.course import Course
from torture.verdict import Blow

# As many as there are bad updates.
CASES = 7


def refuse_updates(machine: Device, slot: Path, folder: Path, course: Course) -> None:
    """Try bad updates on a machine that runs; the workstation's own checks are left out."""
    owner, stranger = (_key(folder, name) for name in ("owner", "stranger"))
    machine.copy_to(owner.with_name("owner.pub"), "/tmp/owner")
    machine.succeed("{ printf 'me '; cat /tmp/owner; } >/etc/skiff/signers; touch /etc/skiff/no-older")
    # A cut may have left the running slot on trial.
    machine.execute("skiff-slots confirm")
    before = running(machine)
    for number, (what, bad) in enumerate(_bad(slot, folder, owner, stranger), 1):
        if number not in course.left:
            continue
        problem = _taken(machine, bad)
        if not problem and machine.succeed("skiff-slots --json | grep -c trial || true").strip() != "0":
            problem = "it is to be started"
        course.note(number, Blow(what, problem))
    assert running(machine) == before, "another slot runs"


def _taken(machine: Device, slot: Path) -> str:
    """How far a bad update came; empty when it was refused."""
    try:
        send(remote(machine), slot, Ui(quiet=True))
        remote(machine).run(["skiff-slots", "try", "1", "60"], timeout=600)
    except UserError:
        return ""
    return "it was taken"


def _bad(slot: Path, folder: Path, owner: Path, stranger: Path) -> Iterator[tuple[str, Path]]:
    def changed(name: str, key: Path | None, **values: str) -> Path:
        target = folder / name
        shutil.copytree(slot, target, symlinks=True)
        manifest = target / "manifest"
        lines = []
        for line in manifest.read_text().splitlines():
            word = line.split(" ", 1)[0]
            lines.append(f"{word} {values[word]}" if word in values else line)
        manifest.write_text("".join(f"{line}\n" for line in lines))
        if key is not None:
            sign(manifest, key, NAMESPACE)
        return target

    yield "unsigned", changed("unsigned", None)
    yield "signed by a stranger", changed("strange", stranger)
    yield "another CPU", changed("cpu", owner, arch="riscv64")
    yield "another board", changed("board", owner, board="odroid/c4")
    yield "older", changed("older", owner, version="1")
    tampered = changed("tampered", owner)
    (tampered / "manifest").write_text((tampered / "manifest").read_text().replace("quiet", "quie1"))
    yield "changed after signing", tampered
    yield "cut short", _short(changed("short", None), owner)


def _short(slot: Path, key: Path) -> Path:
    """An image that no slot has, signed, and half of it missing."""
    whole = (slot / "initramfs").read_bytes() + b"more"
    manifest = slot / "manifest"
    lines = manifest.read_text().splitlines()
    new = f"file {digest(whole)} {len(whole)} initramfs"
    lines = [new if line.endswith(" initramfs") else line for line in lines]
    manifest.write_text("".join(f"{line}\n" for line in lines))
    sign(manifest, key, NAMESPACE)
    (slot / "initramfs").unlink()
    (slot / "initramfs").write_bytes(whole[: len(whole) // 2])
    return slot


def _key(folder: Path, name: str) -> Path:
    key = folder / name
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])
    return key
