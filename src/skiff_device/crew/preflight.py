"""Which checks a container of a release must pass, as the app's files and its settings tell."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from skiff_device.common.errors import DeviceError
from skiff_device.crew import check, router, store
from skiff_device.crew import release as releases
from skiff_device.crew.check import Check, Plan
from skiff_device.crew.paths import Paths
from skiff_device.crew.release import Release, Running
from skiff_device.crew.store import Section

if TYPE_CHECKING:
    from skiff_device.crew.engine import Engine

Say = check.Say
# Stands for every process in the lists `disabled` and `skipped`.
ALL = "_all_"
# How long a container may take to end by itself, in seconds; Dokku waits as long.
STOP = 30


def is_in(settings: Section, name: str, process: str) -> bool:
    """Whether a process is in one of the lists: disabled (the old one ends first) or skipped."""
    return bool({process, ALL} & set(settings.get(name, [])))


def plan(paths: Paths, app: str, release: Release, process: str) -> Plan | None:
    """What containers of a process must pass; None when they are not checked. Raises DeviceError."""
    settings = store.section(paths, app, "checks")
    wanted = checks(paths, app, release, process)
    if wanted is None:
        return None
    web = process == "web" and bool(router.targets(paths, app, release.exposed))
    port = router.container_port(paths, app, release.exposed) if web else 0
    return Plan(tuple(wanted), port, uptime=float(settings.get("wait", check.DEFAULT_UPTIME)))


def checks(paths: Paths, app: str, release: Release, process: str) -> list[Check] | None:
    """What the app's files tell of a process; None when it is not checked. Raises DeviceError."""
    settings = store.section(paths, app, "checks")
    if is_in(settings, "disabled", process) or is_in(settings, "skipped", process):
        return None
    told: dict[str, Any] = {
        name: settings[name] for name in ("wait", "timeout", "attempts") if name in settings
    }
    wanted = check.from_app_json(release.app_json, process, Check("", **told))
    if not wanted and process == "web":
        wanted = check.from_file(release.checks, told)
    return wanted


def must_pass(engine: Engine, app: str, container: Running, plan: Plan, say: Say) -> None:
    """Come back when a container is fit to serve. Raises DeviceError, after its last lines."""
    try:
        check.ready(engine, container, plan, say)
    except DeviceError as error:
        _last_words(engine, container.name, say)
        raise DeviceError(f"{app}: {error.message}", error.hint or "its last lines are above") from None


def _last_words(engine: Engine, name: str, say: Say) -> None:
    with suppress(DeviceError):
        for _, data in engine.logs(name, tail="20"):
            for line in data.decode(errors="replace").splitlines():
                say(f"    {line}")


def give_way(paths: Paths, app: str, engine: Engine, say: Say) -> list[Running]:
    """Stop the containers that must not run beside new ones (checks:disable); returns them."""
    settings = store.section(paths, app, "checks")
    now = releases.serving(paths, app)
    ended = []
    for one in now.containers if now is not None else ():
        if is_in(settings, "disabled", one.process) and engine.inspect(one.name) is not None:
            engine.stop(one.name, STOP)
            say(f"{one.process}.{one.index}: stopped before the new one starts")
            ended.append(one)
    return ended


def take_back(engine: Engine, ended: list[Running]) -> None:
    """Start what gave way to containers that were not fit."""
    for one in ended:
        # What does not start now does at the next deploy or boot.
        with suppress(DeviceError):
            engine.start(one.name)
