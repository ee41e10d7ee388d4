"""Carries out a plan: container by container, so that one which fails does not hold up the others.

Every step can be cut short by a power cut; the next plan sees what is there and goes on from it.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

from skiff_device.common.errors import DeviceError, EngineDown
from skiff_device.core import engine, images, observe, state
from skiff_device.core.desired import HOST_FOLDERS, Wanted, create_words
from skiff_device.core.errors import told
from skiff_device.core.observe import Boot, Seen
from skiff_device.core.paths import SESSIONS, Paths
from skiff_device.core.plan import BESIDE, Action, Plan

# A container in place of another must stay up this long before the other is given up, in seconds.
_STAYS_UP = 2.0


class Applier:
    """One run of apply; collects what failed."""

    def __init__(self, wanted: dict[str, Wanted], paths: Paths, say: Callable[[str], None]) -> None:
        self.wanted = wanted
        self.paths = paths
        self.say = say
        self.logs = {name: state.ContainerLog(paths, name) for name in wanted}
        self.boot = observe.read_boot(paths)
        # What cannot be gone on with, by image and by container.
        self.bad_images: dict[str, DeviceError] = {}
        self.failures: dict[str, DeviceError] = {}
        self.warnings: dict[str, DeviceError] = {}

    def run(self, todo: Plan) -> None:
        """Do what the plan says. Raises EngineDown; other failures are noted and the rest goes on."""
        for blocked in todo.blocked:
            self.note(blocked.container, DeviceError(blocked.text, blocked.hint))
        for action in todo.actions:
            try:
                self.step(action)
            except EngineDown:
                raise
            except (DeviceError, OSError) as raised:
                error = told(raised)
                if action.kind == "image" and action.optional:
                    self.tell(action.container, f"{error.message}; the image that is there is used")
                    self.warnings[action.container] = error
                    continue
                if action.kind == "image":
                    self.bad_images[action.path] = error
                self.note(action.container, error)
        self.remember(applied=self.boot.applied | (self.wanted.keys() - self.failures.keys()))

    def note(self, name: str, error: DeviceError) -> None:
        """Keep the first failure of a container."""
        if name not in self.failures:
            self.tell(name, error.message + (f" ({error.hint})" if error.hint else ""))
            self.failures[name] = error

    def tell(self, name: str, line: str) -> None:
        """A line to whoever watches, and to the container's log."""
        self.say(f"{name}: {line}")
        if name in self.logs:
            self.logs[name](line)

    def remember(self, **changes: object) -> None:
        """Note something for this boot."""
        self.boot = dataclasses.replace(self.boot, **changes)  # type: ignore[arg-type]
        observe.write_boot(self.paths, self.boot)

    def step(self, action: Action) -> None:
        """Do one action, unless its container failed before."""
        name = action.container
        want = self.wanted.get(name)
        image = want.source.image.name if want else ""
        if action.kind != "image":
            if image in self.bad_images and action.kind in ("create", "replace", "folder"):
                raise self.bad_images[image]
            if name in self.failures and action.kind != "start":
                return
        self.tell(name, f"{action.text} ({action.reason})")
        if want is not None:
            state.container(self.paths, name, "wait", action.text, f"skiff-core logs -f {name}")
        getattr(self, f"do_{action.kind}")(action, want)

    def do_image(self, action: Action, want: Wanted) -> None:
        """Pull or build; the output goes to the logs of all containers that wait for it."""
        waiting = [
            log for name, log in self.logs.items() if self.wanted[name].source.image.name == action.path
        ]

        def log(line: str) -> None:
            self.say(f"{action.container}: {line}")
            for one in waiting:
                one(line)

        if "pull" in action.ways:
            self.remember(pulled=self.boot.pulled | {action.path})
        images.get(want.source, action.ways, self.paths, log)

    def do_folder(self, action: Action, want: Wanted) -> None:
        """A folder of the host that a mount needs."""
        try:
            self.paths.at(action.path).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DeviceError(
                f"{action.path} cannot be made: {error.strerror}", "make room on persist"
            ) from None

    def do_discard(self, action: Action, want: Wanted) -> None:
        """The only thing that is ever removed: what was made beside and never took its place."""
        name = action.container + BESIDE
        engine.ask("rm", "--force", name, what=f"{name} cannot be removed")

    def create(self, want: Wanted, name: str) -> str:
        """Make a container under a name, and return its definition."""
        found = observe.look_at_image(want.source.image.name)
        if found is None:
            raise DeviceError(f"image {want.source.image.name} is not on this device", "check pull and build")
        definition = want.definition(found.source)
        words = create_words(want, name, definition, found.command)
        engine.ask("create", "--pull=never", *words, what=f"{name} cannot be made")
        return definition

    def do_create(self, action: Action, want: Wanted) -> None:
        """A container where there was none."""
        self.create(want, action.container)
        if action.start:
            self.do_start(action, want)

    def do_replace(self, action: Action, want: Wanted) -> None:
        """The new one beside, the old one out of the way, the new one in its place."""
        name, kept = action.container, action.path
        definition = self.create(want, name + BESIDE)
        stop(name)
        engine.ask("rename", name, kept, what=f"{name} cannot be renamed {kept}")
        rest(kept)
        self._in_place(action, definition)

    def do_finish(self, action: Action, want: Wanted) -> None:
        """The second half of do_replace, after a power cut."""
        beside = observe.look_at(action.container + BESIDE)
        self._in_place(action, beside.definition if beside else "")

    def _in_place(self, action: Action, definition: str) -> None:
        name = action.container
        engine.ask("rename", name + BESIDE, name, what=f"{name}{BESIDE} cannot be renamed {name}")
        if not action.start:
            return
        try:
            start(name)
            self.stays(name)
        except EngineDown:
            raise
        except DeviceError as error:
            if not action.previous:
                raise
            self.put_back(name, action.previous, definition)
            text = f"the new {name} did not start, the one before is back: {error.message}"
            raise DeviceError(text, error.hint or f"skiff-core logs {name}") from None

    def put_back(self, name: str, previous: str, definition: str) -> None:
        """Undo do_replace: the container that does not start makes room for the one before."""
        self.tell(name, f"it does not start: {previous} comes back")
        logged = engine.last_words(name)
        for line in logged:
            self.tell(name, f"it said: {line}")
        self.remember(failed={**self.boot.failed, name: definition})
        stop(name)
        engine.ask("rename", name, name + BESIDE, what=f"{name} cannot be renamed")
        engine.ask("rename", previous, name, what=f"{previous} cannot be renamed {name}")
        engine.ask("rm", "--force", name + BESIDE, what=f"{name}{BESIDE} cannot be removed")
        policy = self.wanted[name].container.restart_policy or "no"
        engine.ask("update", f"--restart={policy}", name, what=f"{name} keeps its restart policy")
        start(name)

    def stays(self, name: str) -> None:
        """Wait a little for a container that ends at once. Raises DeviceError when it did."""
        deadline = time.monotonic() + _STAYS_UP
        while True:
            found = observe.look_at(name)
            if (
                found is None
                or found.state in ("restarting", "dead")
                or (found.state == "exited" and found.exit_code)
            ):
                code = found.exit_code if found else 0
                raise DeviceError(f"it ended at once with status {code}", f"skiff-core logs {name}")
            if found.state == "exited" or time.monotonic() > deadline:
                return
            time.sleep(0.2)

    def do_start(self, action: Action, want: Wanted) -> None:
        """Start a container that is there."""
        if action.previous:
            found = observe.look_at(action.container)
            try:
                start(action.container)
            except EngineDown:
                raise
            except DeviceError as error:
                self.put_back(action.container, action.previous, found.definition if found else "")
                text = f"the new {action.container} did not start, the one before is back: {error.message}"
                raise DeviceError(text, error.hint) from None
        else:
            start(action.container)

    def do_policy(self, action: Action, want: Wanted | None) -> None:
        """Whether the engine starts it by itself."""
        words = ("update", f"--restart={action.path}", action.container)
        engine.ask(*words, what=f"{action.container} keeps its restart policy")

    def do_retire(self, action: Action, want: Wanted | None) -> None:
        """A container that is no longer in the file: it keeps its name and all that is in it."""
        rest(action.container)
        stop(action.container)


def start(name: str) -> None:
    """Start a container."""
    engine.ask("start", name, what=f"{name} does not start")


def stop(name: str) -> None:
    """Stop a container; the engine waits for it a while, and then ends it."""
    engine.ask("stop", name, what=f"{name} cannot be stopped")


def rest(name: str) -> None:
    """Keep the engine from starting it by itself."""
    engine.ask("update", "--restart=no", name, what=f"{name} keeps its restart policy")


def folders_in_ram(paths: Paths, name: str, want: Wanted) -> None:
    """What a container mounts and no boot leaves; for /.skiff a folder as /tmp, with the sticky bit."""
    for path in set(want.folders) & set(HOST_FOLDERS):
        paths.at(path).mkdir(parents=True, exist_ok=True)
    top = paths.at(SESSIONS)
    folder = top / name
    top.mkdir(mode=0o755, parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True)
    folder.chmod(0o1777)


def look(applier: Applier) -> dict[str, Seen | None]:
    """What is there now of each container of the configuration."""
    everything = {one.name: one for one in observe.observe({}, applier.paths).containers.values()}
    found = {name: everything.get(name) for name in applier.wanted}
    return {name: one if one is not None and one.core == name else None for name, one in found.items()}


def settle(applier: Applier, seen: dict[str, Seen | None]) -> list[tuple[str, str, str]]:
    """Write the last word on each container; returns (name, state, text) of each."""
    lines = []
    for name, found in seen.items():
        line = state.settled(applier.paths, name, found)
        error = applier.failures.get(name) or applier.warnings.get(name)
        if error is not None:
            runs = found is not None and found.runs
            grade = "warn" if runs or name not in applier.failures else "fail"
            text = f"{error.message}" if not runs else f"running, but {error.message}"
            state.container(applier.paths, name, grade, text, error.hint or f"skiff-core logs {name}")
            line = (grade, text)
        lines.append((name, *line))
    return lines


__all__ = ["Applier", "Boot", "folders_in_ram", "look", "settle"]
