"""After a boot: every app runs the release that served last, and what was half made is put away."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable

from skiff_device.common.errors import DeviceError
from skiff_device.crew import containers, oneoff, store
from skiff_device.crew import release as releases
from skiff_device.crew.engine import Engine
from skiff_device.crew.paths import Paths
from skiff_device.crew.release import Release


def restore(paths: Paths) -> int:
    """Bring all apps back; the last line written is state, text and hint for skiff-status."""
    from skiff_device.crew import crontab, router

    engine = Engine(paths)
    failed: list[str] = []
    running = stopped = 0
    # A backup that was being taken in when the power went.
    for leftover in paths.crew.glob("import.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    apps = store.apps(paths)
    if apps:
        containers.ensure_network(engine)
    for app in apps:
        try:
            with store.alone(paths, f"deploy-{app}"):
                if _app(paths, engine, app):
                    running += 1
                else:
                    stopped += 1
        except DeviceError as error:
            failed.append(app)
            print(f"{app}: {error.message}", file=sys.stderr)
    # Apps that are gone.
    known = set(apps)
    for found in engine.containers():
        labels = found.get("Labels") or {}
        if labels.get(containers.LABEL, "") not in known | {""} and "crew.process" in labels:
            engine.remove(str(found["Names"][0]).lstrip("/"))
    router.apply(paths)
    crontab.write(paths)
    if failed:
        print(f"fail\tapps that do not run: {' '.join(failed)}\tcrew ps:report APP; crew logs APP")
        return 0
    rest = f", {stopped} stopped" if stopped else ""
    print(f"ok\t{running} apps run{rest}\t" if apps else "ok\tno apps\t")
    return 0


def bring_up(paths: Paths, apps: list[str], say: Callable[[str], None]) -> None:
    """Start apps that have just come, as after a boot; one that does not start is told."""
    from skiff_device.crew import crontab, router

    engine = Engine(paths)
    for app in apps:
        try:
            with store.alone(paths, f"deploy-{app}"):
                _app(paths, engine, app)
        except DeviceError as error:
            say(f"{app} does not run: {error.message}")
    router.apply(paths, say)
    crontab.write(paths)


def _app(paths: Paths, engine: Engine, app: str) -> bool:
    """Bring one app back; whether it runs."""
    for leftover in paths.app(app).glob("incoming.*"):
        leftover.unlink(missing_ok=True)
    number = releases.current_number(paths, app)
    # Newer than the one that serves: a power cut came before the switch.
    for unfinished in [one for one in releases.numbers(paths, app) if one > number]:
        releases.forget(paths, app, unfinished)
    containers.remove_others(engine, app, number)
    oneoff.remove_all(engine, app, only_ended=True)
    release = releases.current(paths, app)
    if release is None or store.section(paths, app, "ps").get("stopped"):
        return False
    _start(paths, engine, app, release)
    return True


def _start(paths: Paths, engine: Engine, app: str, release: Release) -> None:
    from skiff_device.crew import router

    port = router.container_port(paths, app, release.exposed)
    for one in release.containers:
        found = engine.inspect(one.name)
        if found is None:
            containers.create(engine, paths, app, release, one, port)
        if found is None or not found["State"].get("Running"):
            engine.start(one.name)
