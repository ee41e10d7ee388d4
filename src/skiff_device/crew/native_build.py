"""A build that a manager of the cluster has this device do, for a CPU that the manager has not (other_cpus).

It runs in a container that shows of this device what crew needs, and has the limits of a build here.
"""

from __future__ import annotations

import json
import os
import tempfile
from typing import NamedTuple

from skiff_device.crew import build, cleanup, registry, registry_client
from skiff_device.crew.engine import Engine
from skiff_device.crew.paths import Paths

# The command that the container runs, and the variable that says what is to be built.
COMMAND = "native-build"
ASKED = "CREW_NATIVE_BUILD"
# What it says last: as what the registry got the image. What steps of a build say is indented.
PUSHED = "pushed as "


class Asked(NamedTuple):
    """What is to be built: an app, its source by digest, and as what the registry gets it."""

    app: str
    dockerfile: str
    target: str
    # Nobody changes them, so empty ones may be shared.
    args: dict[str, str]
    memory: int
    pids: int
    seconds: float
    source: str = ""
    tag: str = ""


def run(paths: Paths) -> int:
    """Build it, and hand the image to the registry. Raises DeviceError."""
    asked = Asked(**json.loads(os.environ[ASKED]))
    engine = Engine(paths)
    limits = build.Limits(asked.memory, asked.pids, asked.seconds)
    build.bound(paths, limits)
    name = f"{registry.ADDRESS}/crew/{asked.app}:{asked.tag}"
    with tempfile.TemporaryFile() as context:
        registry_client.fetch_file(f"crew/{asked.app}", asked.source, context)
        build.build(
            paths,
            engine,
            context,
            name,
            dockerfile=asked.dockerfile,
            target=asked.target,
            args=asked.args,
            labels={cleanup.IMAGE_LABEL: asked.app},
            options=limits,
            say=lambda line: print(line, flush=True),
        )
    try:
        print(f"{PUSHED}{engine.push(name)}", flush=True)
    finally:
        engine.untag(name)
        engine.prune_build_cache(cleanup.cache_limit(paths))
    return 0
