"""Updates that are not for this device, or were tampered with: each is refused, and nothing has changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

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


def refuse_updates(machine: Device, slot: Path, folder: Path, course: Course) -> None:
    """Try bad updates on a machine that runs; the workstation's own checks are left out."""
    forge = _Forge(slot, folder, *(_key(folder, name) for name in ("owner", "stranger")))
    machine.copy_to(forge.owner.with_name("owner.pub"), "/tmp/owner")
    machine.succeed("{ printf 'me '; cat /tmp/owner; } >/etc/skiff/signers; touch /etc/skiff/no-older")
    # A cut may have left the running slot on trial.
    machine.execute("skiff-slots confirm")
    before = running(machine)
    for number in course.left:
        what, make = _BAD[number - 1]
        problem = _taken(machine, make(forge))
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


class _Forge(msgspec.Struct, frozen=True):
    """Makes bad updates out of a good slot."""

    slot: Path
    folder: Path
    owner: Path
    stranger: Path

    def changed(self, name: str, key: Path | None, **values: str) -> Path:
        """A copy whose manifest has other values, signed with the key if there is one."""
        target = self.folder / name
        shutil.copytree(self.slot, target, symlinks=True)
        manifest = target / "manifest"
        lines = []
        for line in manifest.read_text().splitlines():
            word = line.split(" ", 1)[0]
            lines.append(f"{word} {values[word]}" if word in values else line)
        manifest.write_text("".join(f"{line}\n" for line in lines))
        if key is not None:
            sign(manifest, key, NAMESPACE)
        return target


def _tampered(forge: _Forge) -> Path:
    slot = forge.changed("tampered", forge.owner)
    manifest = slot / "manifest"
    manifest.write_text(manifest.read_text().replace("quiet", "quie1"))
    return slot


def _short(forge: _Forge) -> Path:
    """An image that no slot has, signed, and half of it missing."""
    slot = forge.changed("short", None)
    whole = (slot / "initramfs").read_bytes() + b"more"
    manifest = slot / "manifest"
    lines = manifest.read_text().splitlines()
    new = f"file {digest(whole)} {len(whole)} initramfs"
    lines = [new if line.endswith(" initramfs") else line for line in lines]
    manifest.write_text("".join(f"{line}\n" for line in lines))
    sign(manifest, forge.owner, NAMESPACE)
    (slot / "initramfs").unlink()
    (slot / "initramfs").write_bytes(whole[: len(whole) // 2])
    return slot


_BAD: tuple[tuple[str, Callable[[_Forge], Path]], ...] = (
    ("unsigned", lambda forge: forge.changed("unsigned", None)),
    ("signed by a stranger", lambda forge: forge.changed("strange", forge.stranger)),
    ("another CPU", lambda forge: forge.changed("cpu", forge.owner, arch="riscv64")),
    ("another board", lambda forge: forge.changed("board", forge.owner, board="odroid/c4")),
    ("older", lambda forge: forge.changed("older", forge.owner, version="1")),
    ("changed after signing", _tampered),
    ("cut short", _short),
)
CASES = len(_BAD)


def _key(folder: Path, name: str) -> Path:
    key = folder / name
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])
    return key
