"""What there is: containers and images as the engine tells them, and what this boot has seen so far."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from skiff_device.common.files import write_atomically
from skiff_device.core import engine
from skiff_device.core.desired import LABEL, LABEL_DEFINITION, LABEL_SOURCE, Wanted
from skiff_device.core.paths import Paths


@dataclass(frozen=True)
class Seen:
    """A container. core and definition are our labels, empty on a foreign one."""

    id: str
    name: str
    core: str = ""
    definition: str = ""
    image_id: str = ""
    # created, running, paused, restarting, exited or dead.
    state: str = "created"
    exit_code: int = 0
    error: str = ""
    restart: str = "no"
    user: str = ""
    # Below /sys/fs/cgroup, there while it runs.
    cgroup: str = ""

    @property
    def runs(self) -> bool:
        """Whether one can enter it, or soon can."""
        return self.state in ("running", "restarting", "paused")


@dataclass(frozen=True)
class SeenImage:
    """An image. source is our label: the fingerprint it was built from, empty for any other."""

    id: str
    source: str = ""
    command: tuple[str, ...] = ()
    user: str = ""


@dataclass(frozen=True)
class Boot:
    """What was done since the machine started; kept in RAM."""

    # Containers that were looked after at least once.
    applied: frozenset[str] = frozenset()
    # Definitions that would not start, by container.
    failed: dict[str, str] = field(default_factory=dict)
    # Images with policy `always` that were asked for.
    pulled: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Observed:
    """Everything that a plan is made from, beside the configuration."""

    containers: dict[str, Seen] = field(default_factory=dict)
    images: dict[str, SeenImage] = field(default_factory=dict)
    boot: Boot = field(default_factory=Boot)


def observe(wanted: dict[str, Wanted], paths: Paths) -> Observed:
    """Ask the engine. Raises EngineDown."""
    containers = [_seen(found) for found in engine.containers()]
    images = {}
    for reference in dict.fromkeys(one.source.image.name for one in wanted.values()):
        found = look_at_image(reference)
        if found is not None:
            images[reference] = found
    return Observed({one.name: one for one in containers}, images, read_boot(paths))


def look_at(name: str) -> Seen | None:
    """One container by name or id."""
    found = engine.container(name)
    return None if found is None else _seen(found)


def look_at_image(reference: str) -> SeenImage | None:
    """One image."""
    found = engine.image(reference)
    if found is None:
        return None
    config: dict[str, Any] = found.get("Config") or {}
    labels = config.get("Labels") or {}
    command = (*_words(config.get("Entrypoint")), *_words(config.get("Cmd")))
    return SeenImage(found["Id"], labels.get(LABEL_SOURCE, ""), command, config.get("User") or "")


def _words(value: Any) -> tuple[str, ...]:
    # podman tells an entrypoint as one text.
    return tuple(value.split()) if isinstance(value, str) else tuple(value or ())


def _seen(found: dict[str, Any]) -> Seen:
    config: dict[str, Any] = found.get("Config") or {}
    host: dict[str, Any] = found.get("HostConfig") or {}
    state: dict[str, Any] = found.get("State") or {}
    labels = config.get("Labels") or {}
    policy = host.get("RestartPolicy") or {}
    restart = policy.get("Name") or "no"
    if restart == "on-failure" and policy.get("MaximumRetryCount"):
        restart += f":{policy['MaximumRetryCount']}"
    status = str(state.get("Status") or "created")
    cgroup = str(state.get("CgroupPath") or f"{host.get('CgroupParent') or 'docker'}/{found['Id']}")
    return Seen(
        id=found["Id"],
        name=found["Name"].lstrip("/"),
        core=labels.get(LABEL, ""),
        definition=labels.get(LABEL_DEFINITION, ""),
        image_id=found.get("Image", ""),
        # podman's words for what docker calls created and exited.
        state={"configured": "created", "initialized": "created", "stopped": "exited"}.get(status, status),
        exit_code=int(state.get("ExitCode") or 0),
        error=str(state.get("Error") or ""),
        restart=restart,
        user=config.get("User") or "",
        cgroup="/sys/fs/cgroup/" + cgroup.strip("/"),
    )


def read_boot(paths: Paths) -> Boot:
    """What this boot has seen so far."""
    try:
        found = json.loads(paths.boot.read_text())
        return Boot(frozenset(found["applied"]), dict(found["failed"]), frozenset(found["pulled"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Boot()


def write_boot(paths: Paths, boot: Boot) -> None:
    """Keep it for the next time."""
    kept = {"applied": sorted(boot.applied), "failed": boot.failed, "pulled": sorted(boot.pulled)}
    write_atomically(paths.boot, json.dumps(kept) + "\n")
