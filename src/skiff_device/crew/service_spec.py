"""A process of an app as a Swarm service: what Swarm is asked for, and what it cannot give.

What one device alone can give (folders, hardware, all rights) a service cannot have; `unfit` says so.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from skiff_device.common.errors import DeviceError
from skiff_device.crew import containers, names, preflight, raw_env, store
from skiff_device.crew.engine_swarm import Node
from skiff_device.crew.engine_swarm import name_of as name_of_device
from skiff_device.crew.paths import Paths
from skiff_device.crew.release import Release

# The network across devices that all apps of the cluster are on.
NETWORK = "crew-cluster"
# How long new containers are watched, in seconds.
MONITOR = 5
# What a service and its containers are known by. Not as containers of one device are (crew.app): those crew
# starts, stops and clears away itself, these Swarm does.
APP, RELEASE, PROCESS = "crew.cluster.app", "crew.cluster.release", "crew.cluster.process"
# In nanoseconds, as Swarm counts.
_SECOND = 1_000_000_000
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_SIZE = re.compile(r"([0-9]+)([bkmg]?)", re.IGNORECASE)
_CONSTRAINT = re.compile(r"(?:node|engine)\.[a-z][A-Za-z0-9_.-]*(?:==|!=)[A-Za-z0-9_.-]+")
# CPUs by the name that images have for them, and the one that devices have. 32-bit arm has many there.
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64", "riscv64": "riscv64"}
_CPUS = {machine: cpu for cpu, machine in _MACHINES.items()}
ARM = "arm"
_BY_MACHINE, _BY_LABEL = "node.platform.arch", "node.labels."

Spec = dict[str, Any]


def is_clustered(paths: Paths, app: str) -> bool:
    """Whether an app is to run on the cluster."""
    return bool(store.section(paths, app, "cluster").get("on"))


def name_of(app: str, process: str) -> str:
    """The service of a process. No name of an app has a `_`, so that no two are the same."""
    return f"{app}_{process}"


def constraints(text: str) -> list[str]:
    """Where containers may run, as Swarm has it: `node.platform.arch==aarch64,node.labels.site==museum`."""
    found = [word for word in text.split(",") if word]
    for word in found:
        if not _CONSTRAINT.fullmatch(word):
            raise DeviceError(
                f"{names.shown(word)!r} is no constraint",
                "node.platform.arch==aarch64, node.labels.KEY==VALUE, node.hostname!=NAME",
            )
    return found


def unfit(paths: Paths, app: str) -> None:
    """Raise DeviceError when an app has what only one device can give, with the way round."""
    if mounts := store.section(paths, app, "storage").get("mounts"):
        raise DeviceError(
            f"{app} mounts a folder of this device ({mounts[0]}), which the others have not",
            f"storage:unmount {app} …, and keep its data elsewhere; or leave it on one device",
        )
    options = store.section(paths, app, "docker_options").get("deploy")
    if options:
        first = options[0] if isinstance(options[0], str) else " ".join(options[0])
        raise DeviceError(
            f"{app} has an option that a cluster does not take: {first}",
            f"docker-options:clear {app} deploy; what needs devices or rights of one device stays there: "
            f"apps:set --no-cluster {app}",
        )
    if raw := raw_env.names(containers.environment(paths, app, 0)):
        raise DeviceError(
            f"{app} has a variable that is not UTF-8, which a cluster does not take: {raw[0]}",
            f"config:unset {app} {raw[0]}, and set it encoded: the app decodes it",
        )
    if store.section(paths, app, "network").get("attach"):
        raise DeviceError(
            f"{app} is on networks of this device",
            f"network:set {app} attach-post-create; apps of the cluster share one",
        )


def must_leave_nothing(paths: Paths, app: str) -> None:
    """Raise DeviceError when an app has what only a cluster can give, with the way round."""
    for kind, named in store.section(paths, app, "files").items():
        name = next(iter(named))
        raise DeviceError(
            f"{app} has {kind}, which are the cluster's ({name})",
            f"{kind}:unset --no-restart {app} {name}; on one device: config:set, or a file by storage:mount",
        )


def spec(
    paths: Paths,
    app: str,
    release: Release,
    process: str,
    count: int,
    image: str,
    cpus: Collection[str],
    inside: int,
    files: Spec,
) -> Spec:
    """What Swarm is asked for. cpus are the image's; inside is the port that is led to, 0 for none.

    files are what service_files.parts makes of the release's secrets and configs.
    """
    chosen = store.section(paths, app, "cluster")
    env = containers.environment(paths, app, inside or 5000)
    labels = {APP: app, RELEASE: str(release.number), PROCESS: process}
    ends_first = preflight.is_in(store.section(paths, app, "checks"), "disabled", process)
    change = {
        "Parallelism": 1,
        "Order": "stop-first" if ends_first else "start-first",
        "Monitor": MONITOR * _SECOND,
        "MaxFailureRatio": 0,
    }
    # On each device, for its router, wherever the containers are. Which one is Swarm's choice.
    port = {"Protocol": "tcp", "TargetPort": inside, "PublishMode": "ingress"}
    everywhere = process in chosen.get("global", [])
    health = healthcheck(paths, app, release, process)
    return {
        "Name": name_of(app, process),
        "Labels": labels,
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": image,
                "Args": release.processes.get(process) or [],
                "Env": [f"{key}={value}" for key, value in sorted(env.items())],
                "Labels": labels,
                **({"Healthcheck": health} if health else {}),
                **files,
                "Init": True,
                "StopGracePeriod": preflight.STOP * _SECOND,
            },
            "Resources": {"Limits": _limits(containers.limits(paths, app, process))},
            "RestartPolicy": {"Condition": "any", "Delay": _SECOND},
            "Placement": {
                "Constraints": _constraints(chosen.get("constraints", []), cpus),
                "Platforms": [{"OS": "linux", "Architecture": "" if cpu == ARM else cpu} for cpu in cpus],
            },
            "Networks": [{"Target": NETWORK, "Aliases": [app] if process == "web" else []}],
        },
        "Mode": {"Global": {}} if everywhere else {"Replicated": {"Replicas": count}},
        "UpdateConfig": {**change, "FailureAction": "rollback"},
        "RollbackConfig": {**change, "FailureAction": "pause"},
        "EndpointSpec": {"Mode": "vip", "Ports": [port] if inside else []},
    }


def healthcheck(paths: Paths, app: str, release: Release, process: str) -> dict[str, Any]:
    """A command among a process's checks, which Swarm goes on asking; else the image's HEALTHCHECK is."""
    wanted = preflight.checks(paths, app, release, process) or []
    command = next((one for one in wanted if one.kind == "command"), None)
    if command is None:
        return {}
    return {
        "Test": ["CMD", *command.command],
        "Interval": int(max(1.0, command.wait) * _SECOND),
        "Timeout": int(max(1.0, command.timeout) * _SECOND),
        "Retries": command.attempts,
    }


def machine_of(node: Node) -> str:
    """What a device calls its CPU."""
    return str(node["Description"].get("Platform", {}).get("Architecture", ""))


def cpu_of(node: Node) -> str:
    """What images for a device's CPU call it; empty for one that is not known."""
    machine = machine_of(node)
    return ARM if machine.startswith("armv") else _CPUS.get(machine, "")


def runs(node: Node, cpus: Collection[str]) -> bool:
    """Whether a device has one of the CPUs that an image is for, as far as that is known."""
    cpu = cpu_of(node)
    return not cpu or cpu in cpus


def is_placed(paths: Paths, app: str, node: Node) -> bool:
    """Whether an app may be on a device, as set: as far as managers know what Swarm will compare."""
    facts = {
        "node.id": str(node["ID"]),
        "node.hostname": name_of_device(node),
        "node.role": str(node["Spec"]["Role"]),
        _BY_MACHINE: machine_of(node),
        **{f"{_BY_LABEL}{key}": value for key, value in (node["Spec"].get("Labels") or {}).items()},
    }
    for word in store.section(paths, app, "cluster").get("constraints", []):
        key, operator, value = re.split("(==|!=)", word, maxsplit=1)
        is_known = key in facts or key.startswith(_BY_LABEL)
        if is_known and (facts.get(key, "").lower() == value.lower()) != (operator == "=="):
            return False
    return True


def _constraints(given: list[str], cpus: Collection[str]) -> list[str]:
    """Where containers may run: as set, and kinds of arm, which Swarm does not know, on no other CPU."""
    if ARM not in cpus or any(word.startswith(_BY_MACHINE) for word in given):
        return list(given)
    others = [machine for cpu, machine in _MACHINES.items() if cpu not in cpus]
    return [*given, *(f"{_BY_MACHINE}!={machine}" for machine in others)]


def _limits(limits: dict[str, str]) -> dict[str, int]:
    found = {"Pids": int(limits.get("pids", containers.DEFAULT_PIDS))}
    if "cpu" in limits:
        found["NanoCPUs"] = int(float(limits["cpu"]) * _SECOND)
    if match := _SIZE.fullmatch(limits.get("memory", "")):
        found["MemoryBytes"] = int(match[1]) * _UNITS[match[2].lower()]
    return found
