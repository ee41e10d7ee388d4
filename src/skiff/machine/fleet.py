"""Many devices updated in waves: a few at a time, and no further once too many failed."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from skiff.host.errors import UserError
from skiff.host.ui import Ui
from skiff.machine.push import Done


class Fleet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of devices."""

    # As ssh takes them. The first is updated alone, before all others.
    hosts: tuple[str, ...]
    # Devices at a time.
    wave: int = 4
    # With so many failures no further wave begins.
    failures: int = 1


class Outcome(msgspec.Struct, frozen=True):
    """What became of a fleet, by address."""

    updated: dict[str, Done]
    # Why not.
    failed: dict[str, str]
    untried: tuple[str, ...]


def load(path: Path) -> Fleet:
    """Read a file of devices. Raises UserError when it is none."""
    try:
        found = msgspec.convert(tomllib.loads(path.read_text()), Fleet)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise UserError(
            f"{path}: not understood: {error}",
            hint='it holds hosts = ["root@10.0.0.5", …], and if you like wave = 4, failures = 1',
        ) from error
    if not found.hosts or found.wave < 1 or found.failures < 1:
        raise UserError(f"{path}: no hosts, or a wave or failures below 1")
    return found


def roll_out(fleet: Fleet, update: Callable[[str, Ui], Done], ui: Ui) -> Outcome:
    """Update all devices. A failure of the one says nothing of the others, but too many end it."""
    updated: dict[str, Done] = {}
    failed: dict[str, str] = {}
    left = list(fleet.hosts)
    for wave in _waves(fleet):
        if len(failed) >= fleet.failures:
            break
        with ui.step(f"update {', '.join(wave)}"), ThreadPoolExecutor(len(wave)) as pool:
            for address, result in pool.map(lambda one: (one, _outcome(one, update)), wave):
                left.remove(address)
                if isinstance(result, Done):
                    updated[address] = result
                    ui.notice(f"{address}: slot {result.slot}, confirmed after {result.seconds:.1f} s")
                else:
                    failed[address] = result
                    ui.warn(f"{address}: {result}")
    return Outcome(updated, failed, tuple(left))


def _waves(fleet: Fleet) -> Iterator[list[str]]:
    yield [fleet.hosts[0]]
    for start in range(1, len(fleet.hosts), fleet.wave):
        yield list(fleet.hosts[start : start + fleet.wave])


def _outcome(address: str, update: Callable[[str, Ui], Done]) -> Done | str:
    """What came of one device; several at a time leave no room for each one's steps."""
    try:
        return update(address, Ui(quiet=True))
    except UserError as error:
        return f"{error.message}{f' ({error.hint})' if error.hint else ''}"
