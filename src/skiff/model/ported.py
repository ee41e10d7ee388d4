"""What came of a port, as values: for the report, and for who runs `skiff port --json`."""

from __future__ import annotations

import enum

import msgspec

from skiff.model.port import Action, Platform


class Outcome(enum.Enum):
    """What was done for one node of the plan."""

    BUILT = "built"
    # Of an earlier run, and nothing that it depends on has changed.
    KEPT = "kept"
    MADE = "made of packages"
    FETCHED = "fetched"
    # Nothing that had to be done needed it.
    UNUSED = "not needed"


class Done(msgspec.Struct, frozen=True):
    """One node, carried out."""

    id: str
    image: str
    platform: Platform
    action: Action
    outcome: Outcome
    # Engine; empty for what needed none.
    where: str = ""
    seconds: float = 0.0
    # How many lines of its Dockerfile were rewritten, and how many findings were left as they are.
    rewritten: int = 0
    left: int = 0


class Result(msgspec.Struct, frozen=True):
    """One image that was asked for, ready for one platform."""

    id: str
    image: str
    platform: Platform
    # Of its manifest.
    digest: str
    bytes: int
    # Programs and libraries that were looked at; all are for this CPU.
    elf_files: int
    # What running it showed; empty when it was not run.
    verified: str = ""


class Ported(msgspec.Struct, frozen=True):
    """A whole run."""

    results: tuple[Result, ...]
    nodes: tuple[Done, ...]
    # Where the images went: names, files.
    outputs: tuple[str, ...] = ()
    seconds: float = 0.0
