"""The line `crew` of skiff-status: how many apps run, and which do not though they should."""

from __future__ import annotations

from skiff_device.common.errors import DeviceError
from skiff_device.common.files import write_atomically
from skiff_device.crew import containers, store, to_core
from skiff_device.crew import release as releases
from skiff_device.crew.engine import Engine
from skiff_device.crew.paths import Paths


def line(paths: Paths, engine: Engine) -> str:
    """State, text and hint as skiff-status takes them. Raises DeviceError without an engine."""
    found = engine.containers()
    up = {
        str(one["Names"][0]).lstrip("/")
        for one in found
        if containers.LABEL in (one.get("Labels") or {}) and one.get("State") == "running"
    }
    running = stopped = empty = 0
    failed = []
    for app in store.apps(paths):
        try:
            release = releases.current(paths, app)
            section = store.section(paths, app, "app")
        except DeviceError:
            # Each command names the file that is damaged.
            failed.append(app)
            continue
        if to_core.container(section):
            # Core tells of those.
            continue
        if release is None:
            empty += 1
        elif store.section(paths, app, "ps").get("stopped"):
            stopped += 1
        elif up.issuperset(one.name for one in release.containers):
            running += 1
        else:
            failed.append(app)
    if failed:
        return f"fail\tdo not run: {' '.join(failed)}\tcrew ps:report APP; crew logs APP; crew ps:restart APP"
    if not running + stopped + empty:
        return "ok\tno apps\t"
    words = [f"{running} {'app runs' if running == 1 else 'apps run'}"]
    words += [f"{count} {what}" for count, what in ((stopped, "stopped"), (empty, "never deployed")) if count]
    return f"ok\t{', '.join(words)}\t"


def write(paths: Paths, engine: Engine) -> None:
    """Tell skiff-status how it is now; a change of an app calls this. It is of no use to fail then."""
    # Two apps may change at once; the last look is the one that stays.
    with store.alone(paths, "status"):
        try:
            text = line(paths, engine)
        except DeviceError as error:
            text = f"fail\t{error.message}\t{error.hint}"
        write_atomically(paths.run / "status", f"{text}\n")
