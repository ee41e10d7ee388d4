"""An app on a cluster: each process is a Swarm service, made, changed and taken back by Swarm itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

from skiff_device.common.errors import DeviceError
from skiff_device.crew import cluster, other_cpus, registry, router, service_files, service_trial, store
from skiff_device.crew import release as releases
from skiff_device.crew.engine import Engine
from skiff_device.crew.engine_swarm import Node, Swarm, patiently
from skiff_device.crew.engine_swarm import name_of as name_of_device
from skiff_device.crew.paths import Paths
from skiff_device.crew.release import Release
from skiff_device.crew.service_spec import (
    MONITOR,
    NETWORK,
    RELEASE,
    Spec,
    cpu_of,
    is_clustered,
    is_placed,
    machine_of,
    name_of,
    runs,
    spec,
    unfit,
)

Say = Callable[[str], None]
# In seconds: how long a change may take.
_LONGEST = 900.0
_PAUSE = 0.5
# So often may containers of a first release end before it is given up.
_TRIES = 3


def end(paths: Paths, app: str, release: Release) -> None:
    """End the services of a release. Raises DeviceError."""
    if Swarm(paths).state().get("LocalNodeState") == "inactive":
        # It left the cluster, and what it had there is the others'.
        return
    swarm = cluster.manager(paths)
    for name in (service_trial.name_of(app), *(name_of(app, process) for process in release.services)):
        remove(swarm, name)


def remove(swarm: Swarm, name: str) -> None:
    """End a service, if there is one. Raises DeviceError."""
    patiently(lambda: swarm.remove_service(name))


def report(paths: Paths, app: str, release: Release) -> dict[str, str]:
    """How many containers of each process run, and on which devices. Raises DeviceError."""
    swarm = cluster.manager(paths)
    devices = {node["ID"]: name_of_device(node) for node in swarm.nodes()}
    rows = {}
    for process in release.services:
        tasks = swarm.tasks(name_of(app, process))
        where = sorted(devices.get(str(task.get("NodeID")), "?") for task in tasks if _runs(task))
        rows[process] = f"{len(where)} of {swarm.desired(name_of(app, process))} run: {' '.join(where)}"
    return rows


def inspect(paths: Paths, app: str, release: Release) -> list[dict[str, Any] | None]:
    """What Swarm knows of the services, without variables. Raises DeviceError."""
    swarm = cluster.manager(paths)
    found = [swarm.service(name_of(app, process)) for process in release.services]
    for service in found:
        for part in ("Spec", "PreviousSpec"):
            if service is not None and part in service:
                service[part]["TaskTemplate"]["ContainerSpec"].pop("Env", None)
    return found


def bring_all(
    paths: Paths,
    app: str,
    engine: Engine,
    release: Release,
    scale: dict[str, int],
    switch: Callable[[Release], None],
    say: Say,
) -> Release:
    """Have all processes as services; the release with their names and port, to which it is switched then.

    Raises DeviceError. When one of them does not come up, or the switch fails, all are as they were.
    """
    unfit(paths, app)
    swarm = cluster.manager(paths)
    release = other_cpus.still_there(app, release)
    cpus = _cpus(engine, release)
    _tell_who_cannot(paths, app, swarm, cpus, release, say)
    files = patiently(lambda: service_files.parts(swarm, app, release.files))
    image = _hand_over(app, swarm, engine, release, say)
    _ensure_network(engine, swarm)
    leads = bool(router.targets(paths, app, release.exposed))
    inside = router.container_port(paths, app, release.exposed)

    def wanted(process: str) -> Spec:
        web = inside if leads and process == "web" else 0
        return spec(paths, app, release, process, scale[process], image, cpus, web, files)

    for process in scale:
        if scale[process]:
            service_trial.must_pass(paths, app, engine, swarm, release, process, wanted(process), say)
    port = 0
    old: dict[str, Spec | None] = {}
    try:
        for process in scale:
            found = _service(swarm, name_of(app, process))
            old[name_of(app, process)] = found["Spec"] if found else None
            made = bring(swarm, wanted(process), say)
            if leads and process == "web":
                port = int(made["Endpoint"]["Ports"][0]["PublishedPort"])
        release = release._replace(services=tuple(scale), port=port)
        switch(release)
    except BaseException:
        _put_back(swarm, old)
        raise
    return release


def kept_away(paths: Paths, app: str, nodes: list[Node], cpus: Collection[str], release: Release) -> str:
    """The devices that an image for those CPUs does not run on, though the app may be there; and why."""
    found: dict[str, list[str]] = {}
    for node in nodes:
        if not runs(node, cpus) and is_placed(paths, app, node):
            words = filter(None, (machine_of(node), release.lacks.get(cpu_of(node))))
            found.setdefault(": ".join(words), []).append(name_of_device(node))
    return ", ".join(f"{', '.join(those)} ({what})" for what, those in found.items())


def all_kept_away(paths: Paths) -> dict[str, str]:
    """The same for the releases that serve, by app, where there are any. Raises DeviceError."""
    engine, found = Engine(paths), {}
    nodes = Swarm(paths).nodes()
    for app in filter(lambda app: is_clustered(paths, app), store.apps(paths)):
        release = releases.current(paths, app)
        if release is not None:
            found[app] = kept_away(paths, app, nodes, _cpus(engine, release), release)
    return {app: told for app, told in found.items() if told}


def _cpus(engine: Engine, release: Release) -> list[str]:
    """Those that a release runs on, this device's first."""
    own = str((engine.image(release.image) or {}).get("Architecture", ""))
    return [own, *release.others]


def _tell_who_cannot(
    paths: Paths, app: str, swarm: Swarm, cpus: Collection[str], release: Release, say: Say
) -> None:
    """Name the devices whose CPU the image is not for. Raises DeviceError when that must not be."""
    nodes = patiently(swarm.nodes)
    told, named = kept_away(paths, app, nodes, cpus, release), " and ".join(cpus)
    if nodes and not any(runs(node, cpus) for node in nodes):
        raise DeviceError(
            f"the image of {app} is for {named}, which no device of the cluster is: {told}",
            "push to a manager with the CPU that it is to run on",
        )
    if told and other_cpus.way(paths, app) == other_cpus.MUST:
        raise DeviceError(
            f"the image is for {named}; it would not run on {told}",
            f"mend it, or leave them out: builder:set {app} other-cpus {other_cpus.TRY}",
        )
    if told:
        say(f"the image is for {named}; it does not run on {told}")


def _hand_over(app: str, swarm: Swarm, engine: Engine, release: Release, say: Say) -> str:
    """Have the cluster's registry keep the image; the name by which each device fetches this very one."""
    if _service(swarm, registry.SERVICE) is None:
        raise DeviceError(
            "the cluster has no registry, by which the image would reach its devices", "cluster:registry"
        )
    name = f"{registry.ADDRESS}/{release.tag}"
    engine.tag(release.image, name)
    say("handing the image to the cluster's registry")
    try:
        digest = other_cpus.join(app, release, engine.push(name))
    finally:
        engine.untag(name)
    return f"{name.rpartition(':')[0]}@{digest}"


def _ensure_network(engine: Engine, swarm: Swarm) -> None:
    """The network across devices, made when it is not there."""

    def make() -> None:
        if engine.network(NETWORK) is None:
            swarm.ask_managers("POST", "/networks/create", body={"Name": NETWORK, "Driver": "overlay"})

    patiently(make)


def _put_back(swarm: Swarm, old: dict[str, Spec | None]) -> None:
    """Have services as they were, when the release that they are of is not switched to."""
    for name, was in old.items():
        # Each for itself: what cannot be put back now is so at the next deploy.
        with suppress(DeviceError):
            if was is None:
                remove(swarm, name)
            else:
                _write(swarm, was)


def _write(swarm: Swarm, wanted: Spec) -> bool:
    """Make a service, or change it; whether it is new. Raises DeviceError."""
    name = str(wanted["Name"])

    def change() -> bool:
        found = swarm.service(name)
        if found is not None and found["Spec"]["Mode"].keys() != wanted["Mode"].keys():
            # Swarm does not make one that is on each device of another, nor the other way.
            swarm.remove_service(name)
            found = None
        if found is None:
            swarm.create_service(wanted)
        elif found["Spec"] != wanted:
            swarm.update_service(found, wanted)
        return found is None

    return patiently(change)


def _service(swarm: Swarm, name: str) -> dict[str, Any] | None:
    return patiently(lambda: swarm.service(name))


def bring(swarm: Swarm, wanted: Spec, say: Say) -> dict[str, Any]:
    """Have a service as wanted; comes back when it stays so. Raises DeviceError when it does not."""
    name = str(wanted["Name"])
    is_new = _write(swarm, wanted)
    watch = _Watch(name, say)
    while True:
        service = _service(swarm, name) or {}
        ours = [
            task
            for task in patiently(lambda: swarm.tasks(name))
            if _release(task) == wanted["Labels"][RELEASE]
        ]
        asked = patiently(lambda: swarm.desired(name))
        state = str((service.get("UpdateStatus") or {}).get("State", ""))
        if state in ("rollback_completed", "rollback_paused"):
            raise DeviceError(f"{name}: the new release does not stay up, the old one is back", watch.why)
        if watch.is_up(ours, asked) and not state.startswith(("updating", "rollback")):
            return service
        # The first release has none before it that Swarm would go back to.
        if watch.late or (is_new and len(watch.failed) > _TRIES):
            raise DeviceError(f"{name} does not stay up", watch.why)
        time.sleep(_PAUSE)


class _Watch:
    """What becomes of the containers of a release, look by look; Swarm remembers few that ended."""

    def __init__(self, name: str, say: Say) -> None:
        self._name = name
        self._say = say
        self._told = ""
        self._end = time.monotonic() + _LONGEST
        self._up_since = 0.0
        self.failed: set[str] = set()
        self.why = "cluster:report"

    @property
    def late(self) -> bool:
        """Whether it takes too long."""
        return time.monotonic() > self._end

    def is_up(self, tasks: list[dict[str, Any]], asked: int) -> bool:
        """Whether all have run for a while without one that ended."""
        now = time.monotonic()
        for task in tasks:
            if (
                task["Status"]["State"] in ("failed", "rejected", "complete")
                and task["ID"] not in self.failed
            ):
                self.failed.add(task["ID"])
                self.why = str(task["Status"].get("Err") or "it ended with status 0")
                self._up_since = 0.0
        running = sum(map(_runs, tasks))
        line = f"{self._name}: {running} of {asked} run"
        if line != self._told:
            self._say(line)
            self._told = line
        if running < asked:
            self._up_since = 0.0
        elif not self._up_since:
            self._up_since = now
        return bool(self._up_since) and now - self._up_since >= MONITOR


def _runs(task: dict[str, Any]) -> bool:
    # What was on a lost device is said to run there, and is not wanted any more.
    return (task["Status"]["State"], task["DesiredState"]) == ("running", "running")


def _release(task: dict[str, Any]) -> str:
    return str((task["Spec"]["ContainerSpec"].get("Labels") or {}).get(RELEASE))
