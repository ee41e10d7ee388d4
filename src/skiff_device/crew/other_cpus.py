"""Builds an app of the cluster for the CPUs that this device has not, on devices that have them.

Each is a service of one container, which ends with the build: Swarm chooses the device, and its connections
and certificates are all that is needed. The container holds no program: it is the device's own crew that runs
in it (native_build). The source goes there, and the image comes back, by the cluster's registry.
"""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from skiff_device.common.errors import DeviceError
from skiff_device.crew import cluster, logs, registry, registry_client, service_spec, store
from skiff_device.crew.engine import Engine
from skiff_device.crew.engine_api import frames
from skiff_device.crew.engine_swarm import Node, Swarm, is_there, name_of, patiently
from skiff_device.crew.native_build import ASKED, COMMAND, PUSHED, Asked
from skiff_device.crew.paths import Paths
from skiff_device.crew.release import Release
from skiff_device.crew.service_spec import cpu_of, machine_of

Say = Callable[[str], None]
# Values of builder:set APP other-cpus: an app is built for them as far as that goes, always, or never.
TRY, MUST, NEVER = "try", "must", "never"
WAYS = (TRY, MUST, NEVER)
# The image that is nothing but a place for the container, one for each CPU. No name of an app has a `_`.
_EMPTY = "crew/native_build"
# Label: the app that a build is of.
_APP = "crew.build.app"
# What of the device its crew needs there; the loader of x86_64's programs is in a folder of its own.
_SHOWN = ("/bin", "/lib", "/usr", "/etc/passwd", "/etc/group", "/mnt/persist/skiff/crew")
_USED = ("/run/docker.sock", "/sys/fs/cgroup")
_LOADER = {"amd64": ("/lib64",)}
# In seconds: how long a build may take to begin, and bases to be fetched, beside its own limit.
_BEGIN = 300.0
_FETCH = 900.0
_PAUSE = 0.5
_ENDED = ("complete", "failed", "rejected", "orphaned", "shutdown", "remove")


class Built(NamedTuple):
    """By CPU: digests in the registry, and why there is none."""

    images: dict[str, str]
    lacks: dict[str, str]


class Job(NamedTuple):
    """A build under way on some device of a CPU."""

    cpu: str
    service: str
    tag: str


def way(paths: Paths, app: str) -> str:
    """How an app is built for other CPUs than this device's."""
    return str(store.section(paths, app, "build").get("other_cpus", TRY))


def repository(app: str) -> str:
    """Where the registry has the images of an app."""
    return f"crew/{app}"


@contextmanager
def building(paths: Paths, app: str, tar: Path, asked: Asked, say: Say) -> Iterator[Callable[[], Built]]:
    """Begin builds where the cluster has other CPUs; what is given waits for them. All end with the block."""
    nodes = _others(paths, app)
    if not nodes:
        yield lambda: Built({}, {})
        return
    builder = _Builder(paths, app, say)
    end_all(paths, app)
    try:
        builder.begin(nodes, tar, asked)
        yield lambda: builder.finish(asked.seconds)
    finally:
        end_all(paths, app)


def end_all(paths: Paths, app: str) -> None:
    """End builds of an app, also those of a push that was cut off. Raises DeviceError."""
    swarm = Swarm(paths)

    def remove() -> None:
        for name in swarm.labelled(f"{_APP}={app}"):
            swarm.remove_service(name)

    patiently(remove)


def still_there(app: str, release: Release) -> Release:
    """A release with those images for other CPUs that the registry has, which may be a new one."""
    others, lacks = {}, dict(release.lacks)
    for cpu, digest in release.others.items():
        if registry_client.find(repository(app), digest) is None:
            lacks[cpu] = f"the cluster's registry has lost it: ps:rebuild {app}"
        else:
            others[cpu] = digest
    return release._replace(others=others, lacks=lacks)


def join(app: str, release: Release, digest: str) -> str:
    """Have one name for this device's image, of that digest, and for those of other CPUs; its digest."""
    if not release.others:
        return digest
    found = [registry_client.find(repository(app), one) for one in (digest, *release.others.values())]
    tag = release.tag.rpartition(":")[2]
    return registry_client.put_list(repository(app), tag, [one for one in found if one is not None])


def _others(paths: Paths, app: str) -> dict[str, list[Node]]:
    """Devices by CPU, where it is another one than ours and the app may be there."""
    if not service_spec.is_clustered(paths, app) or way(paths, app) == NEVER:
        return {}
    swarm = cluster.manager(paths)
    here = str(swarm.state()["NodeID"])
    found: dict[str, list[Node]] = {}
    own = ""
    for node in patiently(swarm.nodes):
        if node["ID"] == here:
            own = cpu_of(node)
        if cpu_of(node) and service_spec.is_placed(paths, app, node):
            found.setdefault(cpu_of(node), []).append(node)
    found.pop(own, None)
    # Without a registry the deploy says so.
    return found if found and patiently(lambda: swarm.service(registry.SERVICE)) is not None else {}


class _Builder:
    """The builds of one push."""

    def __init__(self, paths: Paths, app: str, say: Say) -> None:
        self._engine = Engine(paths)
        self._swarm = Swarm(paths)
        self._app = app
        self._say = say
        self._jobs: list[Job] = []
        self._lacks: dict[str, str] = {}

    def begin(self, nodes: dict[str, list[Node]], tar: Path, asked: Asked) -> None:
        """Hand the source out, and have it built beside this device's own build."""
        for cpu, those in nodes.items():
            if not any(map(_takes_work, those)):
                self._lacks[cpu] = f"{', '.join(map(name_of, those))} cannot build now"
        if not nodes.keys() - self._lacks:
            return
        source = registry_client.put_file(repository(self._app), tar)
        for cpu in sorted(nodes.keys() - self._lacks):
            node = next(filter(_takes_work, nodes[cpu]))
            self._jobs.append(self._start(cpu, machine_of(node), asked._replace(source=source)))

    def _start(self, cpu: str, machine: str, asked: Asked) -> Job:
        """Have some device with that CPU build."""
        tag = f"{cpu}-{asked.source.partition(':')[2][:12]}"
        job = Job(cpu, f"crew-build-{self._app}-{cpu}", tag)
        wanted = _spec(self._app, job, _place(self._engine, cpu), machine, asked._replace(tag=tag))
        patiently(lambda: self._swarm.create_service(wanted))
        return job

    def finish(self, seconds: float) -> Built:
        """Wait for all, and tell what they say. seconds are the limit of one build."""
        images = {}
        for job in self._jobs:
            end = time.monotonic() + seconds + _FETCH
            watch = _Watch(self._engine, self._swarm, job, self._say)
            why = watch.ended(end)
            # Others can give tags, too: this one is for a device that was not heard, or has an older Skiff.
            name = watch.pushed or job.tag
            found = registry_client.find(repository(self._app), name) if not why else None
            if found is None:
                self._lacks[job.cpu] = why or "no image of it came to the registry"
            else:
                images[job.cpu] = found.digest
        return Built(images, self._lacks)


def _takes_work(node: Node) -> bool:
    return is_there(node) and node["Spec"].get("Availability") == "active"


def _place(engine: Engine, cpu: str) -> str:
    """The empty image for a CPU, in the registry; its name there.

    It is made anew: what is run beside a device's engine is by no means what others put into the registry.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(folder)
    packed.seek(0)
    name = f"{registry.ADDRESS}/{_EMPTY}:{cpu}"
    engine.import_tar(packed, name, cpu)
    try:
        return f"{name.rpartition(':')[0]}@{engine.push(name)}"
    finally:
        engine.untag(name)


def _spec(app: str, job: Job, image: str, machine: str, asked: Asked) -> dict[str, Any]:
    """The service: the device's crew, which reaches the engine and the registry that are there."""
    mounts = [
        {"Type": "bind", "Source": path, "Target": path, "ReadOnly": path not in _USED}
        for path in (*_SHOWN, *_LOADER.get(job.cpu, ()), *_USED)
    ]
    return {
        "Name": job.service,
        "Labels": {_APP: app},
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": image, "Command": ["/usr/bin/crew", COMMAND],
                "Env": [f"{ASKED}={json.dumps(asked._asdict())}"], "Mounts": mounts,
            },
            "RestartPolicy": {"Condition": "none"},
            "Placement": {"Constraints": [f"node.platform.arch=={machine}"]},
            "Networks": [{"Target": "host"}],
        },
        "Mode": {"Replicated": {"Replicas": 1}},
    }  # fmt: skip


class _Watch:
    """A build on another device, look by look."""

    def __init__(self, engine: Engine, swarm: Swarm, job: Job, say: Say) -> None:
        self._engine = engine
        self._swarm = swarm
        self._job = job
        self._say = say
        self._seen = ""
        self._why = ""
        # The digest of what it handed over, once it says so.
        self.pushed = ""

    def ended(self, end: float) -> str:
        """Come back when it has ended; why, or nothing when it went well."""
        begun_by = min(end, time.monotonic() + _BEGIN)
        where = ""
        while True:
            tasks = patiently(lambda: self._swarm.tasks(self._job.service))
            status: dict[str, Any] = tasks[0]["Status"] if tasks else {"State": "pending"}
            state, now = str(status["State"]), time.monotonic()
            node = self._node(tasks)
            if node is not None and not where:
                where = name_of(node)
                self._say(f"-----> building for {self._job.cpu} on {where}")
            if state in ("running", *_ENDED) and node is not None and is_there(node):
                self._tell()
            if state in _ENDED:
                return "" if state == "complete" else f"{where}: {self._why or status.get('Err') or state}"
            if node is not None and not is_there(node):
                return f"{where} was lost amid the build"
            if now > end or (state != "running" and now > begun_by):
                what = f"{where} did not end" if where else "no device began"
                return f"{what}: {status.get('Err') or state}"
            time.sleep(_PAUSE)

    def _node(self, tasks: list[dict[str, Any]]) -> Node | None:
        number = str(tasks[0].get("NodeID", "")) if tasks else ""
        return patiently(lambda: self._swarm.node(number)) if number else None

    def _tell(self) -> None:
        """What it has said since."""
        before = self._seen
        query = {"stdout": 1, "stderr": 1, "timestamps": 1, "since": logs.unix(before)}
        path = f"/services/{quote(self._job.service)}/logs"
        # What cannot be told now is at the next look.
        with suppress(DeviceError, OSError), self._engine.open("GET", path, query) as answer:
            for line in logs.cut("", frames(answer)):
                # The engine begins with the very moment that was seen last.
                if line.time > before:
                    self._seen = line.time
                    text = line.text.decode(errors="replace").rstrip()
                    if text.startswith("crew: "):
                        self._why = text.removeprefix("crew: ")
                    elif text.startswith(PUSHED):
                        self.pushed = text.removeprefix(PUSHED)
                    else:
                        self._say(f"{self._job.cpu}: {text}")
