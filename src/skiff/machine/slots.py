"""What a device tells of its slots and of itself, and whether an image is for it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from skiff.host.errors import UserError
from skiff.host.files import file_digest
from skiff.machine.remote import Remote


class Slot(msgspec.Struct, frozen=True):
    """One slot as `skiff-slots --json` tells it; texts are empty where there is nothing."""

    # `empty`, `good` (is started next), `trial`, `spare` (whole, not started next), `bad` (did not start).
    state: str
    tries: str = ""
    version: str = ""
    image: str = ""
    board: str = ""
    layers: str = ""
    # SHA-256 of its manifest, and so of all that is in it; empty from devices that do not tell yet.
    manifest: str = ""


class Slots(msgspec.Struct, frozen=True):
    """A device's slots."""

    running: str
    loader: str
    arch: str
    board: str
    epoch: str
    # It takes images only that one of its signers signed.
    signed: bool
    # It takes no older images than the one that runs.
    no_older: bool
    slots: dict[str, Slot]

    @property
    def other(self) -> str:
        """The slot that does not run."""
        return "b" if self.running == "a" else "a"


class Unit(msgspec.Struct, frozen=True):
    """One line of `skiff-status --json`."""

    state: str
    text: str
    hint: str


class _Status(msgspec.Struct, frozen=True):
    ok: bool
    units: dict[str, Unit]


def look(remote: Remote) -> Slots:
    """The device's slots. Raises UserError when it has none or cannot be reached."""
    done = remote.run(["skiff-slots", "--json"], check=False)
    if done.status == 127:
        raise UserError(
            f"{remote.host}: its system knows no updates",
            hint="write a disk image of today to it once: skiff flash",
        )
    if done.status != 0:
        raise UserError(f"{remote.host}: {done.problem}")
    try:
        return msgspec.json.decode(done.text, type=Slots)
    except msgspec.DecodeError as error:
        raise UserError(f"{remote.host}: its answer was not understood: {error}") from error


def units(remote: Remote) -> dict[str, Unit]:
    """The lines of its `skiff-status`."""
    done = remote.run(["skiff-status", "--json"], check=False)
    if done.status == 127:
        raise UserError(f"{remote.host}: no skiff-status there", hint="is that a device of Skiff?")
    try:
        return msgspec.json.decode(done.text, type=_Status).units
    except msgspec.DecodeError as error:
        raise UserError(f"{remote.host}: its skiff-status was not understood: {error}") from error


def told(manifest: Path, word: str) -> str:
    """One value of a slot's manifest (docs/reference/disk.md); empty when it is not there."""
    for line in manifest.read_text().splitlines():
        name, _, value = line.partition(" ")
        if name == word:
            return value
    return ""


def runs(found: Slots, folder: Path) -> bool:
    """Whether the device runs what is in ``folder``, to the byte, and goes on with it at its next start."""
    slot = found.slots[found.running]
    return slot.state == "good" and slot.manifest == file_digest(folder / "manifest")


def check_fit(found: Slots, folder: Path, host: str) -> None:
    """Raise UserError when the slot in ``folder`` is not for this device: the device would refuse it too."""
    manifest = folder / "manifest"
    for word, own in (("arch", found.arch), ("board", found.board), ("loader", found.loader)):
        given = told(manifest, word)
        if given != own:
            raise UserError(
                f"{host}: the image is for another {word}: {given or 'none'}, not {own or 'none'}",
                hint="another workspace, or other layers",
            )
    if found.signed and not (folder / "manifest.sig").exists():
        raise UserError(f"{host} takes signed images only", hint="skiff push --sign KEY")
    version = told(manifest, "version")
    if found.no_older and int(version) < int(found.epoch or 0):
        raise UserError(
            f"{host} takes no older image than the one that runs",
            hint="its packages are older: build again with --update",
        )
