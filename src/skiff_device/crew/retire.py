"""The end of older releases: containers stop when nobody talks to them any more, the oldest are forgotten.

It goes on in a process of its own: who pushed does not wait for the last connections of the old release.
"""

from __future__ import annotations

import sys

from skiff_device.common import run
from skiff_device.crew import cleanup, containers, raw_env, router, service_spec, store
from skiff_device.crew import release as releases
from skiff_device.crew.engine import Engine
from skiff_device.crew.paths import Paths
from skiff_device.crew.preflight import STOP

# How long connections to the old release may go on, in seconds (checks:set wait-to-retire).
WAIT = 60


def begin(app: str) -> None:
    """Retire what is older than the release that serves, while this process goes on or ends."""
    run.detach([sys.executable, "-PS", "-m", "skiff_device.crew", "retire", app])


def retire(paths: Paths, app: str) -> int:
    """Retire what is older than the release that serves; what cannot be removed goes another time."""
    engine = Engine(paths)
    number = releases.current_number(paths, app)
    old = containers.older(engine, app, number)
    wait = float(store.section(paths, app, "checks").get("wait_to_retire", WAIT))
    router.drained(paths, wait)
    for container in old:
        engine.stop(container, STOP)
        engine.remove(container)
    raw_env.tidy(engine, paths, app)
    cleanup.old_releases(paths, engine, app)
    cleanup.after_deploy(paths, engine, app)
    if service_spec.is_clustered(paths, app):
        from skiff_device.crew import service_files

        service_files.sweep(paths, app)
    return 0
