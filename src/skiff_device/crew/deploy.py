"""From an image to a release that serves: containers, checks, switch, and the old ones retired.

The switch is one symlink. Before it the old release serves, after it the new one, whenever the power goes;
`restore` puts away what the other one left.
"""

from __future__ import annotations

import hashlib
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from skiff_device.common.errors import DeviceError
from skiff_device.crew import (
    containers,
    crontab,
    hooks,
    oneoff,
    preflight,
    retire,
    router,
    service_spec,
    status,
    store,
)
from skiff_device.crew import release as releases
from skiff_device.crew.engine import Engine
from skiff_device.crew.engine_api import Refused
from skiff_device.crew.paths import Paths
from skiff_device.crew.preflight import STOP
from skiff_device.crew.release import Release

Say = Callable[[str], None]


def deploy(
    paths: Paths,
    app: str,
    image: str,
    reason: str,
    *,
    commit: str = "",
    processes: dict[str, list[str] | None] | None = None,
    app_json: dict[str, Any] | None = None,
    checks: str = "",
    others: dict[str, str] | None = None,
    lacks: dict[str, str] | None = None,
    say: Say,
) -> Release:
    """Make an image the app's release. Raises DeviceError; the old release serves then.

    processes are those of a Procfile (None: one, `web`, by the image's own command). others and lacks are
    what other_cpus built of it.
    """
    engine = Engine(paths)
    found = engine.image(image)
    if found is None:
        raise DeviceError(f"there is no image {image}", "build it again")
    ports = sorted(
        int(port.partition("/")[0])
        for port in (found.get("Config") or {}).get("ExposedPorts") or {}
        if port.partition("/")[2] in ("", "tcp")
    )
    release = Release(
        0,
        "",
        reason,
        str(found["Id"]),
        "",
        commit,
        processes or {"web": None},
        tuple(ports),
        app_json or {},
        checks,
        others=others or {},
        lacks=lacks or {},
    )
    with store.alone(paths, f"deploy-{app}", lambda: say(f"waiting for another change of {app}")):
        # It may have been destroyed amid the build.
        store.must_exist(paths, app)
        return _roll_out(paths, app, engine, _numbered(paths, app, release, reason), say)


def redeploy(paths: Paths, app: str, reason: str, say: Say) -> Release | None:
    """The serving image with the settings of now; None when there is none, or the app is stopped."""
    with store.alone(paths, f"deploy-{app}", lambda: say(f"waiting for another change of {app}")):
        old = releases.current(paths, app)
        if old is None or store.section(paths, app, "ps").get("stopped"):
            return None
        return _roll_out(paths, app, Engine(paths), _numbered(paths, app, old, reason), say)


def is_late(paths: Paths, app: str) -> bool:
    """Whether what serves was made with other variables than those of now."""
    now = releases.current(paths, app)
    if now is None or store.section(paths, app, "ps").get("stopped"):
        return False
    return now.variables != _checksum(paths, app)


def rollback(paths: Paths, app: str, number: int, say: Say) -> Release:
    """An older release's image with the settings of now, as a new release."""
    with store.alone(paths, f"deploy-{app}", lambda: say(f"waiting for another change of {app}")):
        old = releases.load(paths, app, number) if number else _before(paths, app)
        if old is None:
            there = ", ".join(map(str, releases.numbers(paths, app))) or "none"
            if number:
                raise DeviceError(f"{app} has no such release", f"kept are: {there}")
            raise DeviceError(
                f"no release of {app} has another image", f"rollback {app} NUMBER; kept are: {there}"
            )
        if Engine(paths).image(old.image) is None:
            raise DeviceError(f"the image of release {old.number} is gone", "push it again")
        again = _numbered(paths, app, old, f"rollback to {old.number}")
        own_files = bool(old.services) and service_spec.is_clustered(paths, app)
        if own_files:
            # Of secrets and configs those of its time: they may be what is wrong.
            again = again._replace(files=old.files)
        made = _roll_out(paths, app, Engine(paths), again, say)
        if own_files:
            store.change(paths, app, "files", lambda section: _become(section, old.files))
        return made


def stop(paths: Paths, app: str, say: Say) -> None:
    """Stop all processes of an app, until `start` or the next deploy, also over reboots."""
    with store.alone(paths, f"deploy-{app}", lambda: say(f"waiting for another change of {app}")):
        _set_stopped(paths, app, True)
        router.apply(paths, say)
        engine = Engine(paths)
        _end_services(paths, app, releases.current(paths, app))
        for one in _containers(paths, app):
            if engine.inspect(one.name) is not None:
                engine.stop(one.name, STOP)
                # One that only ended may be started by the engine when that starts.
                engine.remove(one.name)
                say(f"{one.process}.{one.index}: stopped")
        status.write(paths, engine)


def start(paths: Paths, app: str, say: Say) -> None:
    """Start an app that was stopped."""
    with store.alone(paths, f"deploy-{app}", lambda: say(f"waiting for another change of {app}")):
        old = releases.current(paths, app)
        if old is None:
            raise DeviceError(f"{app} was never deployed", f"git push crew@DEVICE:{app} main")
        was = store.section(paths, app, "ps").get("stopped", False)
        if was or not all(_runs(Engine(paths), one.name) for one in old.containers):
            _roll_out(paths, app, Engine(paths), _numbered(paths, app, old, "start"), say)


def destroy(paths: Paths, app: str) -> None:
    """Remove an app with its containers, images, certificate and settings."""
    from skiff_device.crew import certs, other_cpus, service_files

    with store.alone(paths, f"deploy-{app}"):
        engine = Engine(paths)
        tags = [one.tag for one in releases.kept(paths, app)]
        _end_services(paths, app, releases.serving(paths, app))
        releases.point_at(paths, app, 0)
        router.apply(paths)
        if service_spec.is_clustered(paths, app):
            service_files.sweep(paths, app, gone=True)
            with suppress(DeviceError):
                other_cpus.end_all(paths, app)
        containers.remove_others(engine, app, 0, STOP)
        oneoff.remove_all(engine, app)
        certs.forget(paths, app)
        store.destroy(paths, app)
        for tag in tags:
            engine.untag(tag)
        status.write(paths, engine)


def rename(paths: Paths, app: str, name: str, say: Say) -> None:
    """Give an app another name, and containers of that name. Raises DeviceError; it has its old one then.

    Deploy keys follow it. When power goes meanwhile, `restore` does what is left to do.
    """
    from skiff_device.crew import certs, keys

    taken = DeviceError(f"there is an app {name} already", "choose another name")
    # Nobody holds one lock twice.
    if name == app:
        raise taken
    # In the same order by whoever renames: the other way round two would wait for each other.
    first, second = sorted((app, name))
    with store.alone(paths, f"deploy-{first}"), store.alone(paths, f"deploy-{second}"):
        store.must_exist(paths, app)
        if store.exists(paths, name):
            raise taken
        engine = Engine(paths)
        old = releases.current(paths, app)
        before, kept = releases.current_number(paths, app), releases.numbers(paths, app)
        try:
            for one in releases.kept(paths, app):
                # An image that is gone can have no name.
                with suppress(Refused):
                    engine.tag(one.image, releases.tag(name, one.number))
            certs.copy(paths, app, name)
            # What is left of an app that was destroyed, or whose first push was refused, is no app.
            shutil.rmtree(paths.app(name), ignore_errors=True)
            keys.before_rename(paths, app)
            store.sync_disk(paths)
            _move(paths, app, name)
            if old is not None and not store.section(paths, name, "ps").get("stopped"):
                _roll_out(paths, name, engine, _numbered(paths, name, old, f"renamed from {app}"), say)
        except BaseException:
            with _undisturbed():
                if store.exists(paths, name) and releases.current_number(paths, name) == before:
                    _move(paths, name, app)
            raise
        finally:
            # Also when a client is lost amid what follows the switch.
            with _undisturbed():
                now, left = (app, name) if store.exists(paths, app) else (name, app)
                keys.follow(paths, now)
                certs.forget(paths, left)
                for number in kept:
                    with suppress(DeviceError):
                        engine.untag(releases.tag(left, number))
                if left == app:
                    _end_services(paths, app, old)
                    containers.remove_others(engine, app, 0, STOP)


def _move(paths: Paths, app: str, name: str) -> None:
    from skiff_device.crew import service_files

    paths.app(app).rename(paths.app(name))
    store.sync_folder(paths.apps)
    if service_spec.is_clustered(paths, name):
        service_files.hand_on(paths, app, name)


def scale_of(paths: Paths, app: str, release: Release) -> dict[str, int]:
    """How many containers of each process: as set, else one `web` (or one of all where there is no web).

    Raises DeviceError for an app.json that tells no number.
    """
    given = store.section(paths, app, "ps").get("scale", {})
    formation = release.app_json.get("formation", {})
    found = {}
    for process in release.processes:
        default = 1 if process == "web" or "web" not in release.processes else 0
        told = formation.get(process, {}) if isinstance(formation, dict) else {}
        quantity = told.get("quantity", default) if isinstance(told, dict) else default
        if not isinstance(quantity, int) or quantity < 0:
            raise DeviceError(f"app.json: formation.{process}.quantity: expected a number", "such as 1")
        found[process] = int(given.get(process, quantity))
    return found


def _numbered(paths: Paths, app: str, old: Release, reason: str) -> Release:
    """A release as the next one. Call it under the app's lock: two must not get one number."""
    number = max([0, *releases.numbers(paths, app)]) + 1
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    empty: dict[str, Any] = {"containers": (), "services": (), "port": 0}
    empty["files"] = store.section(paths, app, "files")
    empty["variables"] = _checksum(paths, app)
    return old._replace(number=number, created=now, reason=reason, tag=releases.tag(app, number), **empty)


def _checksum(paths: Paths, app: str) -> str:
    """Tells whether variables are the same ones."""
    variables = {**store.env(paths, None), **store.env(paths, app)}
    return hashlib.sha256(store.as_json(variables).encode()).hexdigest()


def _become(section: store.Section, content: store.Section) -> None:
    section.clear()
    section.update(content)


def _before(paths: Paths, app: str) -> Release | None:
    """The last release with another image than the one that serves."""
    now = releases.serving(paths, app)
    others = [one for one in releases.kept(paths, app) if now is None or one.image != now.image]
    return others[-1] if others else None


def _roll_out(paths: Paths, app: str, engine: Engine, release: Release, say: Say) -> Release:
    if service_spec.is_clustered(paths, app):
        return _roll_out_services(paths, app, engine, release, say)
    before = releases.current_number(paths, app)
    was_stopped = bool(store.section(paths, app, "ps").get("stopped"))
    network = containers.ensure_network(engine)
    with store.alone(paths, "addresses"):
        made = containers.lay_out(paths, app, release.number, scale_of(paths, app, release), network)
        release = release._replace(containers=made)
        releases.save(paths, app, release)
    ended: list[releases.Running] = []
    switched = False
    try:
        engine.tag(release.image, release.tag)
        hooks.trigger(paths, "pre-deploy", app, [release.tag], say)
        if not was_stopped:
            ended = preflight.give_way(paths, app, engine, say)
        _start_and_check(paths, app, engine, release, say)
        # The engine does not wait for the disk: a power cut would leave what serves with half an image.
        store.sync_disk(paths)
        # From here to the end of the switch nobody's Ctrl-C or lost connection interrupts.
        with _undisturbed():
            _switch(paths, app, before, release, was_stopped, say)
            switched = True
            crontab.write(paths)
            status.write(paths, engine)
            retire.begin(app)
            _end_services(paths, app, releases.readable(paths, app, before))
    finally:
        if not switched:
            with _undisturbed():
                _put_away(paths, app, engine, release)
                preflight.take_back(engine, ended)
    say(f"release {release.number} of {app} serves")
    hooks.trigger(paths, "post-deploy", app, [release.tag], say)
    return release


def _switch(paths: Paths, app: str, before: int, release: Release, was_stopped: bool, say: Say) -> None:
    """Have a release serve in place of that number, which serves on when the router does not take it."""
    if was_stopped:
        _set_stopped(paths, app, False)
    releases.point_at(paths, app, release.number)
    try:
        router.apply(paths, say)
    except BaseException:
        releases.point_at(paths, app, before)
        _set_stopped(paths, app, was_stopped)
        with suppress(DeviceError):
            router.apply(paths, wait=False)
        raise


def _end_services(paths: Paths, app: str, release: Release | None) -> None:
    """End what a release has on the cluster."""
    if release is not None and release.services:
        from skiff_device.crew import services

        services.end(paths, app, release)


def _roll_out_services(paths: Paths, app: str, engine: Engine, release: Release, say: Say) -> Release:
    """The same on a cluster: Swarm starts, checks and takes back; the switch is told to the router here."""
    from skiff_device.crew import services

    before = releases.serving(paths, app)
    was_stopped = bool(store.section(paths, app, "ps").get("stopped"))

    def switch(made: Release) -> None:
        releases.save(paths, app, made)
        store.sync_disk(paths)
        with _undisturbed():
            _switch(paths, app, before.number if before else 0, made, was_stopped, say)

    ended: list[releases.Running] = []
    try:
        engine.tag(release.image, release.tag)
        hooks.trigger(paths, "pre-deploy", app, [release.tag], say)
        if not was_stopped:
            # What the app still has on this device alone.
            ended = preflight.give_way(paths, app, engine, say)
        scale = scale_of(paths, app, release)
        release = services.bring_all(paths, app, engine, release, scale, switch, say)
    except BaseException:
        with _undisturbed():
            _put_away(paths, app, engine, release)
            preflight.take_back(engine, ended)
        raise
    with _undisturbed():
        crontab.write(paths)
        status.write(paths, engine)
        retire.begin(app)
        if before is not None:
            left = tuple(one for one in before.services if one not in release.services)
            _end_services(paths, app, before._replace(services=left))
    say(f"release {release.number} of {app} serves")
    hooks.trigger(paths, "post-deploy", app, [release.tag], say)
    return release


def _start_and_check(paths: Paths, app: str, engine: Engine, release: Release, say: Say) -> None:
    port = router.container_port(paths, app, release.exposed)
    for one in release.containers:
        containers.create(engine, paths, app, release, one, port)
        engine.start(one.name)
    for one in release.containers:
        plan = preflight.plan(paths, app, release, one.process)
        if plan is None:
            say(f"{one.process}.{one.index}: started, not checked")
            continue
        preflight.must_pass(engine, app, one, plan, say)


def _put_away(paths: Paths, app: str, engine: Engine, release: Release) -> None:
    """What a release that never served had made."""
    for one in release.containers:
        # What cannot be removed now goes at the next deploy or boot.
        with suppress(DeviceError):
            engine.remove(one.name)
    if releases.current_number(paths, app) != release.number:
        with suppress(DeviceError):
            engine.untag(release.tag)
        releases.forget(paths, app, release.number)


def _containers(paths: Paths, app: str) -> tuple[releases.Running, ...]:
    now = releases.current(paths, app)
    return now.containers if now is not None else ()


def _runs(engine: Engine, name: str) -> bool:
    found = engine.inspect(name)
    return found is not None and bool(found["State"].get("Running"))


def _set_stopped(paths: Paths, app: str, stopped: bool) -> None:
    def change(section: dict[str, Any]) -> None:
        section.pop("stopped", None)
        if stopped:
            section["stopped"] = True

    store.change(paths, app, "ps", change)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Signals of a client that goes away change nothing."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    old = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, old, strict=True):
            signal.signal(number, handler)
