"""One-off containers of an app: the serving image with the app's variables, storage and limits."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from skiff_device.common.errors import DeviceError
from skiff_device.crew import containers, raw_env, store
from skiff_device.crew import release as releases
from skiff_device.crew.paths import Paths

if TYPE_CHECKING:
    from skiff_device.crew.engine import Engine

# Their number is in this label; containers of releases do not have it.
LABEL = "crew.run"
_ADDRESS = "crew.address"
# The process type whose limits they have (resource:limit --process-type run).
PROCESS = "run"


def create(
    engine: Engine,
    paths: Paths,
    app: str,
    argv: list[str],
    *,
    env: dict[str, str] | None = None,
    flags: tuple[str, ...] = (),
    name: str = "",
    process: str = PROCESS,
) -> str:
    """Make a one-off container, not started yet; returns its name. Raises DeviceError.

    process is the type whose limits it has.
    """
    from skiff_device.crew import router

    release = releases.current(paths, app)
    if release is None:
        raise DeviceError(f"{app} was never deployed", f"git push crew@DEVICE:{app} main")
    network = containers.ensure_network(engine)
    number = int.from_bytes(os.urandom(4), "big") % 900_000 + 100_000
    name = name or f"{app}.run.{number}"
    variables = containers.environment(paths, app, router.container_port(paths, app, release.exposed))
    with store.alone(paths, "one-off"):
        address = _address(engine, network)
        words = [f"--label={containers.LABEL}={app}", f"--label={LABEL}={number}"]
        words += [f"--label={_ADDRESS}={address}", "--network", containers.NETWORK, "--ip", address, "--init"]
        words += [*flags, *containers.common_words(paths, app, process, "run")]
        variables |= env or {}
        raw_env.create(engine, paths, app, name, words, release.image, argv, variables)
    containers.attach_networks(engine, paths, app, name)
    return name


def _address(engine: Engine, network: Any) -> str:
    """The highest free one: those of releases are given from below."""
    used = {
        str(found.get("Labels", {}).get(_ADDRESS)) for found in engine.containers() if found.get("Labels")
    }
    for place in range(network.num_addresses - 2, network.num_addresses // 2, -1):
        address = str(network.network_address + place)
        if address not in used:
            return address
    raise DeviceError("too many one-off containers", "run:list, run:stop")


def listing(engine: Engine, app: str) -> list[dict[str, Any]]:
    """One-off containers of an app, as the engine lists them."""
    return [one for one in engine.containers(**{containers.LABEL: app}) if LABEL in one.get("Labels", {})]


def find(engine: Engine, app: str, word: str) -> str:
    """The name of one, by its name or number. Raises DeviceError."""
    for one in listing(engine, app):
        name = str(one["Names"][0]).lstrip("/")
        if word in (name, one["Labels"][LABEL]):
            return name
    raise DeviceError(f"{app} has no such one-off container", f"run:list {app}")


def remove_all(engine: Engine, app: str, only_ended: bool = False) -> None:
    """Remove the one-off containers of an app."""
    for one in listing(engine, app):
        if not only_ended or one.get("State") not in ("running", "created"):
            engine.remove(str(one["Names"][0]).lstrip("/"))
