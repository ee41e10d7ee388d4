"""After a boot: every app runs the release that served last, and what was half made is put away."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from skiff_device.common.errors import DeviceError
from skiff_device.crew import containers, keys, oneoff, store
from skiff_device.crew import release as releases
from skiff_device.crew.engine import Engine
from skiff_device.crew.paths import Paths
from skiff_device.crew.preflight import STOP
from skiff_device.crew.release import Release

# How long an engine that was reported ready may be down, for it may have ended since; in seconds.
_ENGINE = 300.0


def restore(paths: Paths) -> int:
    """Bring all apps back, and tell skiff-status; one that does not come back does not keep the others."""
    from skiff_device.crew import certs, crontab, router, status

    engine = Engine(paths)
    engine.wait_until_up(_ENGINE)
    # A backup that was being taken in when the power went.
    for leftover in _lost(paths, paths.crew, "import"):
        shutil.rmtree(leftover, ignore_errors=True)
    apps = store.apps(paths)
    if apps:
        containers.ensure_network(engine)
    for app in apps:
        try:
            with store.alone(paths, f"deploy-{app}"):
                _app(paths, engine, app)
                # Power went while it got another name.
                keys.follow(paths, app)
        except DeviceError as error:
            print(f"{app}: {error.message}", file=sys.stderr)
    # Certificates of nobody: power went while an app got another name. A backup may be taken in meanwhile.
    for folder in paths.certs.glob("*/"):
        with store.alone(paths, f"deploy-{folder.name}"), store.alone(paths, "addresses"):
            if not store.exists(paths, folder.name):
                certs.forget(paths, folder.name)
    # Apps that are gone. Those that came meanwhile, by a first push, are there before their containers.
    listed = engine.containers()
    known = set(store.apps(paths))
    for found in listed:
        labels = found.get("Labels") or {}
        if labels.get(containers.LABEL, "") not in known | {""} and "crew.process" in labels:
            engine.remove(str(found["Names"][0]).lstrip("/"))
    router.apply(paths, lambda line: print(line, file=sys.stderr))
    crontab.write(paths)
    status.write(paths, engine)
    return 0


def bring_up(paths: Paths, apps: list[str], say: Callable[[str], None]) -> list[str]:
    """Start apps that have just come, as after a boot; those that do not start, which is told."""
    from skiff_device.crew import crontab, router, status

    engine = Engine(paths)
    failed = []
    for app in apps:
        try:
            with store.alone(paths, f"deploy-{app}"):
                _app(paths, engine, app)
        except DeviceError as error:
            say(f"{app} does not run: {error.message}")
            failed.append(app)
    router.apply(paths, say)
    crontab.write(paths)
    status.write(paths, engine)
    return failed


def _lost(paths: Paths, folder: Path, name: str) -> list[Path]:
    """What processes that are gone left: NAME.PID, and what is called so with more behind a dot.

    Those that came since the boot are at work already: a push, a backup that is taken in.
    """
    found = folder.glob(f"{name}.*")
    return [path for path in found if not (paths.root / "proc" / path.name.split(".")[1]).exists()]


def _app(paths: Paths, engine: Engine, app: str) -> None:
    """Bring one app back as it was."""
    for leftover in _lost(paths, paths.app(app), "incoming"):
        leftover.unlink(missing_ok=True)
    number = releases.current_number(paths, app)
    # Newer than the one that serves: a power cut came before the switch.
    for unfinished in [one for one in releases.numbers(paths, app) if one > number]:
        releases.forget(paths, app, unfinished)
    stopped = bool(store.section(paths, app, "ps").get("stopped"))
    # What power went from amid a stop the engine may have started.
    containers.remove_others(engine, app, 0 if stopped else number, STOP if stopped else 0)
    oneoff.remove_all(engine, app, only_ended=True)
    release = releases.current(paths, app)
    if release is not None and not stopped:
        _start(paths, engine, app, _under_its_name(paths, engine, app, release))


def _under_its_name(paths: Paths, engine: Engine, app: str, release: Release) -> Release:
    """The release with containers of the app's name: power may have gone while it got that."""
    named = tuple(
        one._replace(name=containers.name_of(app, release.number, one.process, one.index))
        for one in release.containers
    )
    if named != release.containers:
        for one in release.containers:
            engine.stop(one.name, STOP)
            engine.remove(one.name)
        release = release._replace(containers=named)
        releases.save(paths, app, release)
    return release


def _start(paths: Paths, engine: Engine, app: str, release: Release) -> None:
    from skiff_device.crew import router

    port = router.container_port(paths, app, release.exposed)
    for one in release.containers:
        found = engine.inspect(one.name)
        if found is None:
            containers.create(engine, paths, app, release, one, port)
        if found is None or not found["State"].get("Running"):
            engine.start(one.name)
