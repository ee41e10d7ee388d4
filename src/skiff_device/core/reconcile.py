"""One apply from beginning to end: configuration, accounts, engine, containers, users inside, state files."""

from __future__ import annotations

import dataclasses
import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from skiff_device.common.errors import DeviceError, EngineDown
from skiff_device.core import accounts, config, desired, observe, people, plan, state
from skiff_device.core.apply import Applier, folders_in_ram, look, settle
from skiff_device.core.errors import ConfigError, told
from skiff_device.core.model import Config
from skiff_device.core.paths import CONFIG, Paths

Say = Callable[[str], None]


@dataclass(frozen=True)
class Loaded:
    """The configuration that counts, and why it is not the one that was written, if so."""

    config: Config
    # None: the file was understood.
    error: DeviceError | None = None
    # False while persist is away: then only users count.
    whole: bool = True


@dataclass
class Outcome:
    """What came of an apply."""

    error: DeviceError | None = None
    failures: dict[str, DeviceError] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def status(self) -> int:
        """Exit status: 2 for a configuration with mistakes, 1 when something failed."""
        if isinstance(self.error, ConfigError):
            return 2
        return 1 if self.error or self.failures else 0


def load(paths: Paths) -> Loaded:
    """The configuration on persist, or the last good one, or (persist away) the image's for its users.

    An image need not have one, nor anybody have written one yet: that is an empty configuration.
    Raises DeviceError when what there is cannot be used.
    """
    reserved = accounts.reserved(paths)
    if not paths.persist_is_there():
        return Loaded(config.read(paths.seed, reserved) if paths.seed.exists() else Config(), whole=False)
    warnings: tuple[str, ...] = ()
    if not paths.config.exists() and paths.seed.exists():
        warnings = state.keep(paths.config, paths.seed.read_text())
    if not (paths.config.exists() or paths.good.exists() or warnings):
        return Loaded(Config())
    file = paths.seed if warnings else paths.config
    try:
        loaded = config.read(file, reserved)
    except DeviceError as error:
        if not paths.good.exists():
            raise
        return Loaded(config.read(paths.good, reserved), error)
    warnings = warnings or state.keep(paths.good, file.read_text())
    return Loaded(dataclasses.replace(loaded, warnings=(*loaded.warnings, *warnings)))


@contextmanager
def alone(paths: Paths, say: Say) -> Iterator[None]:
    """One apply at a time; a second one waits and says so."""
    paths.run.mkdir(parents=True, exist_ok=True)
    with paths.lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another apply is at work: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def today() -> str:
    """The date in names of containers that are kept aside."""
    return time.strftime("%Y-%m-%d", time.gmtime())


def apply(paths: Paths, say: Say, renew: str = "") -> Outcome:
    """Bring the device to what its configuration says; never raises DeviceError, the outcome tells it."""
    with alone(paths, say):
        outcome = Outcome()
        try:
            _apply(paths, say, renew, outcome)
        except (DeviceError, OSError) as error:
            problem = told(error)
            outcome.error = outcome.error or problem
            state.report(paths, "fail", problem.message, problem.hint)
        return outcome


def _apply(paths: Paths, say: Say, renew: str, outcome: Outcome) -> None:
    loaded = load(paths)
    outcome.error = loaded.error

    def warn(text: str) -> None:
        if text not in outcome.warnings:
            outcome.warnings.append(text)
            say(f"warning: {text}")

    for text in loaded.config.warnings:
        warn(text)
    if renew and renew not in loaded.config.containers:
        there = ", ".join(loaded.config.containers) or "none"
        raise DeviceError(f"no container {renew} in the configuration", f"there are: {there}")
    try:
        accounts.apply(loaded.config, paths, warn)
    except OSError as error:
        outcome.error = outcome.error or DeviceError(f"accounts cannot be written: {error}")
    _forget_states(paths, loaded.config)
    if not loaded.whole:
        _all_wait(paths, loaded.config, "waits for persist", "skiff-status persist")
        state.report(paths, "wait", "core waits for persist", "see the line persist")
        return
    if loaded == Loaded(Config()) and not paths.config.exists():
        state.report(paths, "ok", f"no configuration yet: write {CONFIG}")
        return
    try:
        _containers(loaded, paths, say, renew, outcome, warn)
    except EngineDown as error:
        _all_wait(paths, loaded.config, "waits for the container engine", error.hint)
        outcome.error = outcome.error or error
        if loaded.error is None:
            state.report(paths, "wait", "core waits for the container engine", error.hint)
            return
    if loaded.error is not None:
        text = f"{loaded.error.message}; the last good configuration is in use"
        state.report(paths, "fail", text, loaded.error.hint)


def _containers(loaded: Loaded, paths: Paths, say: Say, renew: str, outcome: Outcome, warn: Say) -> None:
    """The part that needs the engine."""
    wanted = desired.wanted(loaded.config, paths)
    # Before the engine answers: podman starts containers then, and makes no folder that they mount.
    for name, want in wanted.items():
        folders_in_ram(paths, name, want)
    # Unknown until the engine answers, which may take a while when it is only starting.
    _all_wait(paths, loaded.config, "waits for the container engine", "skiff-status engine", only_new=True)
    todo = plan.make(wanted, observe.observe(wanted, paths), today(), renew)
    applier = Applier(wanted, paths, say)
    applier.run(todo)
    seen = look(applier)
    # Before the containers' last word: a log-in that waits for it wants to know the user's home.
    people.settle(loaded.config, seen, paths, warn)
    lines = settle(applier, seen)
    outcome.failures = applier.failures
    _report(paths, loaded.config, lines, outcome, applier)


def _report(
    paths: Paths, loaded: Config, lines: list[tuple[str, str, str]], outcome: Outcome, applier: Applier
) -> None:
    worst = next((s for s in ("fail", "warn") for _, found, _ in lines if found == s), "ok")
    containers = "; ".join(f"{name}: {_first_words(text)}" for name, _, text in lines) or "no containers"
    users = ", ".join(name for name, user in loaded.users.items() if not user.locked) or "none"
    hint = "skiff-core status" if worst != "ok" else ""
    if worst == "ok" and outcome.warnings:
        worst, hint = "warn", "skiff-core check"
        containers += f"; {outcome.warnings[0]}"
    state.report(paths, worst, f"{containers}; users: {users}", hint)


def _first_words(text: str) -> str:
    return text if len(text) <= 120 else text[:117] + "…"


def _all_wait(paths: Paths, loaded: Config, text: str, hint: str, only_new: bool = False) -> None:
    known = accounts.read_known_ids(paths)
    for name in loaded.containers:
        ids = state.container_ids(paths, name)
        if only_new and (paths.containers / name).exists():
            continue
        state.container(paths, name, "wait", text, hint, ids=ids if ids[0] else known.get(name, ("", "")))


def _forget_states(paths: Paths, loaded: Config) -> None:
    """State files of containers that are no longer in the file."""
    for folder in (paths.containers, paths.logs):
        if folder.is_dir():
            for path in folder.iterdir():
                if path.name not in loaded.containers:
                    path.unlink(missing_ok=True)
