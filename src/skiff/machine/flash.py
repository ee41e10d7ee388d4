"""Writes a disk image to a card: the mapped blocks, read back from the medium; the partition table last."""

from __future__ import annotations

import errno
import hashlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from skiff.host.errors import UserError
from skiff.host.ui import Step, Ui
from skiff.machine.flash_before import Before, mark
from skiff.machine.flash_image import CHUNK, Packed, Range, mapped_parts
from skiff.machine.flash_target import Target
from skiff.model.disk import BLOCK, MIB

_BAD = "the card may be worn out, or smaller than it says; try another one, or another reader"

_CHANGED = "write it again; only before its first start is a card as it was written"


class Written(msgspec.Struct, frozen=True):
    """What was done, for programs."""

    path: Path
    # Bytes written, and how long that and the reading back took, in seconds.
    written: int
    seconds: float
    verify_seconds: float


def write(packed: Packed, target: Target, before: Before, keep: bool, ui: Ui) -> Written:
    """Write the image and check it on the medium.

    ``keep``: the persist partition that was there stays; else the room behind the image is cleared at its
    start, so that the device makes persist there. Until the very end the disk has no partition table: what is
    half-written starts nowhere. Raises UserError, and lets KeyboardInterrupt through, with a word about that.
    """
    try:
        return _write(packed, target, before, keep, ui)
    except KeyboardInterrupt:
        ui.warn(f"{target.path} is not complete, and nothing starts from it: write it again")
        raise
    except OSError as error:
        # A file's disk is full; a card is at its end too early.
        full = error.errno == errno.ENOSPC and target.path.is_file()
        hint = "free some space" if full else _BAD
        raise UserError(f"{target.path}: {error.strerror}; it is not complete", hint=hint) from error
    except UserError as error:
        raise UserError(f"{error.message} ({target.path} is not complete)", hint=error.hint) from error


def _write(packed: Packed, target: Target, before: Before, keep: bool, ui: Ui) -> Written:
    started = time.monotonic()
    kept = before if keep else msgspec.structs.replace(before, persist=None)
    target.write(0, mark(kept))
    target.sync()
    first = _write_rest(packed, target, ui)
    if not keep:
        target.write(packed.bytes, bytes(min(MIB, target.size - packed.bytes)))
    target.sync()
    written = time.monotonic()
    target.forget()
    verify(packed.ranges, packed.mapped, target, ui, first=first)
    target.write(0, first)
    target.sync()
    target.forget()
    if target.read(0, len(first)) != first:
        target.write(0, mark(kept))
        target.sync()
        raise UserError(f"{target.path}: its first block is not what was written", hint=_BAD)
    return Written(target.path, packed.mapped, written - started, time.monotonic() - written)


def _write_rest(packed: Packed, target: Target, ui: Ui) -> bytes:
    """Write all that is mapped but the first block, and return that."""
    first = b""
    # Closed at once when writing fails: it holds a program that unpacks.
    with _progress(ui, "write", packed.mapped) as meter, closing(mapped_parts(packed)) as parts:
        for at, part in parts:
            if at == 0:
                first = part[:BLOCK]
                target.write(BLOCK, part[BLOCK:])
            else:
                target.write(at, part)
            meter.add(len(part))
    return first


def verify(ranges: tuple[Range, ...], total: int, target: Target, ui: Ui, *, first: bytes = b"") -> None:
    """Compare what is on the medium with a block map. ``first`` stands in for the start of it.

    Raises UserError where it differs, OSError when it cannot be read.
    """
    with _progress(ui, "read back", total) as meter:
        for one in ranges:
            digest = hashlib.sha256()
            at = one.start
            while at < one.end:
                part = target.read(at, min(CHUNK, one.end - at))
                if not part:
                    break
                digest.update(first + part[len(first) :] if at == 0 else part)
                at += len(part)
                meter.add(len(part))
            if digest.hexdigest() != one.sha256:
                what = f"bytes {one.start} to {one.end} differ"
                raise UserError(
                    f"{target.path}: what is on it is not the image: {what}", hint=_BAD if first else _CHANGED
                )


def check(packed: Packed, target: Target, before: Before, ui: Ui) -> None:
    """Compare a disk with an image. Raises UserError when it does not hold that."""
    if before.blank or before.unfinished:
        why = "it is blank" if before.blank else "writing it was interrupted"
        raise UserError(f"{target.path}: what is on it is not the image: {why}", hint="write it")
    try:
        verify(packed.ranges, packed.mapped, target, ui)
    except OSError as error:
        raise UserError(f"{target.path}: cannot be read: {error.strerror}", hint=_BAD) from error


def finish(target: Target, eject: bool) -> bool:
    """Let the kernel see the new partitions, and let the card go if that can be; whether it was ejected."""
    target.show_partitions()
    return eject and target.eject()


@contextmanager
def _progress(ui: Ui, title: str, total: int) -> Iterator[Meter]:
    with ui.step(f"{title} (MB)", total=int(total / 1e6)) as step:
        yield Meter(step, total)


class Meter:
    """Counts bytes, and says how fast and for how long."""

    def __init__(self, step: Step, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._step = step
        self._total = total
        self._clock = clock
        self._started = clock()
        self._done = 0

    def add(self, count: int) -> None:
        """That many more bytes are done."""
        self._done += count
        self._step.advance(int(self._done / 1e6) - self._step.done)
        self._step.detail(pace(self._done, self._total, self._clock() - self._started))


def pace(done: int, total: int, seconds: float) -> str:
    """How far it is, how fast it goes, and how long it still takes. Bytes and seconds."""
    text = f"{done / 1e6:.1f} of {total / 1e6:.1f} MB"
    if seconds <= 0 or not done:
        return text
    left = math.ceil((total - done) * seconds / done)
    minutes = f"{left // 60} min " if left >= 60 else ""
    return f"{text}, {done / 1e6 / seconds:.1f} MB/s, {minutes}{left % 60} s left"
