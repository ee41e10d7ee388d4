"""A release for the cluster is tried before anything changes: one container of each process, on this device.

It is a service of its own, so that it has the app's network, variables and secrets; nobody is led to it. This
device reaches it by the bridge that Docker gives to each container of a cluster, and asks what it asks of an
app on one device. Swarm itself watches only that containers stay up, and HEALTHCHECK.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from skiff_device.common.errors import DeviceError
from skiff_device.crew import check, preflight
from skiff_device.crew.engine import Engine
from skiff_device.crew.engine_swarm import Node, Swarm, patiently
from skiff_device.crew.paths import Paths
from skiff_device.crew.release import Release, Running
from skiff_device.crew.service_spec import ARM, Spec, runs

Say = Callable[[str], None]
_BRIDGE = "docker_gwbridge"
_ENDED = ("complete", "failed")
_PAUSE = 0.2


def must_pass(
    paths: Paths,
    app: str,
    engine: Engine,
    swarm: Swarm,
    release: Release,
    process: str,
    wanted: Spec,
    say: Say,
) -> None:
    """Come back when a container of a process is fit to serve, or nothing is asked. Raises DeviceError."""
    plan = preflight.plan(paths, app, release, process)
    if plan is None or not (plan.checks or plan.port):
        return
    number = str(swarm.state()["NodeID"])
    node = patiently(lambda: swarm.node(number))
    cpus = [one["Architecture"] or ARM for one in wanted["TaskTemplate"]["Placement"]["Platforms"]]
    if node is None or node["Spec"].get("Availability") != "active" or not runs(node, cpus):
        say(f"{process}: not asked before, for this device does not run it")
        return
    trial = _spec(app, node, wanted)
    # Of a deploy that was cut off.
    patiently(lambda: swarm.remove_service(trial["Name"]))
    patiently(lambda: swarm.create_service(trial))
    try:
        preflight.must_pass(engine, app, _started(engine, swarm, process, trial), plan, say)
    finally:
        patiently(lambda: swarm.remove_service(trial["Name"]))


def _spec(app: str, node: Node, wanted: Spec) -> Spec:
    """The service as it is to be, but one container, here, which nobody is led to and nobody starts again."""
    task = wanted["TaskTemplate"]
    placement = {**task["Placement"], "Constraints": [f"node.id=={node['ID']}"]}
    networks = [{"Target": network["Target"]} for network in task["Networks"]]
    restart = {"Condition": "none"}
    task = {**task, "Placement": placement, "Networks": networks, "RestartPolicy": restart}
    mode = {"Replicated": {"Replicas": 1}}
    return {
        **wanted,
        "Name": name_of(app),
        "TaskTemplate": task,
        "Mode": mode,
        "EndpointSpec": {"Mode": "vip"},
    }


def name_of(app: str) -> str:
    """The service of a trial. No process has one of this name: theirs have a `_`."""
    return f"crew-trial-{app}"


def _started(engine: Engine, swarm: Swarm, process: str, trial: Spec) -> Running:
    """Its container, when that has started, or has ended already. Raises DeviceError."""
    end = time.monotonic() + check.LONGEST
    why = "no device takes it"
    while time.monotonic() < end:
        for task in patiently(lambda: swarm.tasks(trial["Name"])):
            status: dict[str, Any] = task["Status"]
            why = str(status.get("Err") or status["State"])
            number = str((status.get("ContainerStatus") or {}).get("ContainerID", ""))
            address = _address(engine, number)
            if number and (address if status["State"] == "running" else status["State"] in _ENDED):
                return Running(number, process, 1, address)
        time.sleep(_PAUSE)
    raise DeviceError(f"{process} does not start: {why}", "cluster:report")


def _address(engine: Engine, number: str) -> str:
    there = (engine.network(_BRIDGE) or {}).get("Containers") or {}
    return str(there.get(number, {}).get("IPv4Address", "")).partition("/")[0]
