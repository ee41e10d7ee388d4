"""An inventory of devices, as both kinds of file give it."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Host(msgspec.Struct, frozen=True):
    """One device, with all that its groups say of it."""

    name: str
    # As ssh takes it.
    address: str
    user: str = "root"
    # None: as ssh has it.
    port: int | None = None
    # Private key to log in with.
    key: Path | None = None
    # Further words for ssh's command line.
    ssh: tuple[str, ...] = ()
    # The workspace whose image it gets; empty: the one that an update is called in.
    workspace: str = ""
    # Groups that it is in, those of these groups included.
    groups: tuple[str, ...] = ()
    vars: dict[str, str] = {}


class Inventory(msgspec.Struct, frozen=True):
    """Devices and groups of one file, in its order."""

    hosts: tuple[Host, ...]
    # Group → names of its devices.
    groups: dict[str, tuple[str, ...]] = {}
    # What the file says of how work goes over it; empty or None when it says nothing.
    wave: str = ""
    failures: str = ""
    jobs: int | None = None
    # Remarks about what of the file does not hold here.
    notices: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """What came of the work on one device: in a line for people, as a value for programs."""

    text: str
    value: object = None
    # Whether all is well there.
    ok: bool = True
    hint: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """What became of one device."""

    # `ok`, `failed`, `untried`, or `broken off` after a second Ctrl-C.
    state: str
    text: str = ""
    hint: str = ""
    # Counted from 1; 0 when it was not tried.
    wave: int = 0
    seconds: float = 0.0
    value: object = None
