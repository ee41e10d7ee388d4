"""From a source tree to a release: build, then deploy, with the hooks around both."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from skiff_device.common.errors import DeviceError
from skiff_device.crew import source, store
from skiff_device.crew.command import Caller
from skiff_device.crew.paths import Paths
from skiff_device.crew.release import Release

if TYPE_CHECKING:
    from skiff_device.crew.engine import Engine
    from skiff_device.crew.other_cpus import Built

Say = Callable[[str], None]


def build_and_deploy(
    paths: Paths, app: str, tar: Path, reason: str, commit: str, caller: Caller, say: Say
) -> None:
    """Build the image of a source tree in a tar file and make it the release. Raises DeviceError."""
    from skiff_device.crew import crontab, deploy, events, hooks, to_core
    from skiff_device.crew.engine import Engine

    dockerfile = str(store.section(paths, app, "build").get("dockerfile", "Dockerfile"))
    files = source.small_files(tar, (dockerfile, "Procfile", "app.json", "CHECKS"))
    if dockerfile not in files:
        raise DeviceError(f"there is no {dockerfile} at the top of the repository", "every app needs one")
    app_json = source.app_json(files.get("app.json", ""))
    # A job that cannot be is told before the build, not after the switch.
    crontab.parse(app_json)
    processes = source.procfile(files.get("Procfile", ""))
    container = to_core.container(store.section(paths, app, "app"))
    if container:
        to_core.push(paths, container, tar, commit, say)
        events.log(paths, caller, f"{app}: {reason}, handed to core")
        return
    engine = Engine(paths)
    hooks.trigger(paths, "pre-build", app, [], say)
    say(f"-----> building {app}")
    tag = f"crew/{app}:build-{os.getpid()}"
    try:
        image, built = _build(paths, app, engine, tar, dockerfile, tag, say)
        hooks.trigger(paths, "post-build", app, [image], say)
        say(f"-----> deploying {app}")
        made = deploy.deploy(
            paths,
            app,
            image,
            reason,
            commit=commit,
            processes=processes,
            app_json=app_json,
            checks=files.get("CHECKS", ""),
            others=built.images,
            lacks=built.lacks,
            say=say,
        )
    finally:
        engine.untag(tag)
    _tell(paths, app, made, caller, say)


def _build(
    paths: Paths, app: str, engine: Engine, tar: Path, dockerfile: str, tag: str, say: Say
) -> tuple[str, Built]:
    """Build an image here, and where the cluster has other CPUs; its id, and what came of it there."""
    from skiff_device.crew import build, cleanup, native_build, other_cpus

    settings = store.section(paths, app, "build")
    usual = build.Limits()
    limits = build.Limits(
        int(settings.get("memory", usual.memory)),
        int(settings.get("pids", usual.pids)),
        float(settings.get("time_limit", usual.seconds)),
    )
    build.bound(paths, limits)
    arguments: dict[str, str] = {}
    for option in store.section(paths, app, "docker_options").get("build", []):
        words = [str(word) for word in option] if isinstance(option, list) else [str(option)]
        arguments |= source.build_argument(words)
    target = str(settings.get("target", ""))
    asked = native_build.Asked(app, dockerfile, target, arguments, *limits)
    with other_cpus.building(paths, app, tar, asked, say) as elsewhere, tar.open("r+b") as context:
        image = build.build(
            paths,
            engine,
            context,
            tag,
            dockerfile=dockerfile,
            target=target,
            args=arguments,
            labels={cleanup.IMAGE_LABEL: app},
            options=limits,
            say=say,
        )
        return image, elsewhere()


def deploy_image(paths: Paths, app: str, image: str, reason: str, caller: Caller, say: Say) -> None:
    """Make an image that is on this device the release; nothing is built. Raises DeviceError."""
    from skiff_device.crew import deploy

    if store.section(paths, app, "app").get("locked"):
        raise DeviceError(f"{app} is locked", f"apps:unlock {app}")
    say(f"-----> deploying {app}")
    _tell(paths, app, deploy.deploy(paths, app, image, reason, say=say), caller, say)


def _tell(paths: Paths, app: str, made: Release, caller: Caller, say: Say) -> None:
    """What follows when a release serves."""
    from skiff_device.crew import events, router

    events.log(paths, caller, f"{app}: release {made.number}: {made.reason}")
    for url in router.urls(paths, app):
        say(f"=====> {url}")
