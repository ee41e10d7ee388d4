"""The containers of an app: their addresses, their environment, and the words of `docker create` for each."""

from __future__ import annotations

import ipaddress
import shlex
from typing import TYPE_CHECKING, Any

from skiff_device.common.errors import DeviceError
from skiff_device.crew import raw_env, store
from skiff_device.crew import release as releases
from skiff_device.crew.paths import Paths
from skiff_device.crew.release import Release, Running

if TYPE_CHECKING:
    from skiff_device.crew.engine import Engine

# The network that all apps are on. Private addresses (RFC 1918); another one is taken where that is in use.
NETWORK = "crew"
SUBNETS = ("172.30.0.0/16", "10.209.0.0/16", "192.168.209.0/24")
# The first ones are the gateway's, and free for what is put there by hand.
_FIRST_HOST = 10
# No program needs a shell that has none of these.
_SHELL = set("$&|;<>()`*?[]{}~#!\n")
# A fork bomb is stopped there.
DEFAULT_PIDS = 1024
LABEL = "crew.app"
# Of networks that crew made; others belong to somebody else on the device.
NETWORK_LABEL = "crew.network"


def labels(app: str, number: int, process: str, index: int) -> dict[str, str]:
    """What a container of an app is known by."""
    return {LABEL: app, "crew.release": str(number), "crew.process": process, "crew.index": str(index)}


def ensure_network(engine: Engine) -> ipaddress.IPv4Network:
    """The network of apps, made when it is not there."""
    found = engine.network(NETWORK)
    if found is None:
        for subnet in SUBNETS:
            try:
                engine.create_network(NETWORK, subnet)
                break
            except DeviceError:
                # Another first push may be making it at this moment.
                if engine.network(NETWORK) is not None:
                    break
                if subnet == SUBNETS[-1]:
                    raise
        found = engine.network(NETWORK) or {}
    for config in found.get("IPAM", {}).get("Config") or []:
        network = ipaddress.ip_network(config.get("Subnet", "::/0"), strict=False)
        if isinstance(network, ipaddress.IPv4Network):
            return network
    raise DeviceError(f"the network {NETWORK} has no IPv4 addresses", f"docker network rm {NETWORK}")


def taken(paths: Paths) -> set[str]:
    """Addresses of all releases that are kept: old ones may be at work until they are retired."""
    return {
        container.address
        for app in store.apps(paths)
        for one in releases.kept(paths, app)
        for container in one.containers
    }


def lay_out(
    paths: Paths, app: str, number: int, scale: dict[str, int], network: ipaddress.IPv4Network
) -> tuple[Running, ...]:
    """Names and addresses of the containers of a new release. Call it, and save the release, under a lock."""
    used = taken(paths)
    hosts = (str(network.network_address + place) for place in range(_FIRST_HOST, network.num_addresses - 1))
    free = (address for address in hosts if address not in used)
    found = []
    for process, count in sorted(scale.items()):
        for index in range(1, count + 1):
            address = next(free, None)
            if address is None:
                raise DeviceError(f"the network {NETWORK} has no free address", "ps:scale, apps:destroy")
            found.append(Running(name_of(app, number, process, index), process, index, address))
    return tuple(found)


def name_of(app: str, number: int, process: str, index: int) -> str:
    """Name of a container of a release."""
    return f"{app}.{process}.{index}-{number}"


def environment(paths: Paths, app: str, port: int) -> dict[str, str]:
    """Variables of an app's containers: those of all apps, the app's own, and what crew tells."""
    return {"PORT": str(port), **store.env(paths, None), **store.env(paths, app), "CREW_APP": app}


def command_words(command: str) -> list[str]:
    """A line of a Procfile as argv: through the container's shell only where it needs one."""
    if not set(command) & _SHELL and "=" not in command.partition(" ")[0]:
        try:
            return shlex.split(command)
        except ValueError:
            pass
    return ["/bin/sh", "-c", command]


def limits(paths: Paths, app: str, process: str) -> dict[str, str]:
    """Limits of a process: its own, else those of all processes of the app."""
    found: dict[str, Any] = store.section(paths, app, "resource").get("limit", {})
    merged = {**found.get("_default_", {}), **found.get(process, {})}
    return {str(key): str(value) for key, value in merged.items()}


def common_words(paths: Paths, app: str, process: str, phase: str) -> list[str]:
    """Words of `docker create` and `docker run` alike: storage, networks, limits, options of a phase."""
    words = []
    for mount in store.section(paths, app, "storage").get("mounts", []):
        words += ["--volume", str(mount)]
    found = limits(paths, app, process)
    if "memory" in found:
        words += ["--memory", found["memory"]]
    if "cpu" in found:
        words += ["--cpus", found["cpu"]]
    words += ["--pids-limit", found.get("pids", str(DEFAULT_PIDS))]
    for option in store.section(paths, app, "docker_options").get(phase, []):
        words += [str(word) for word in option] if isinstance(option, list) else [str(option)]
    return words


def create(engine: Engine, paths: Paths, app: str, release: Release, one: Running, port: int) -> None:
    """Make one container of a release, not started yet."""
    words = [f"--label={key}={value}" for key, value in _labels(app, release, one).items()]
    words += ["--network", NETWORK, "--ip", one.address, "--init"]
    policy = store.section(paths, app, "ps").get("restart_policy", "unless-stopped")
    words += ["--restart", str(policy)]
    words += common_words(paths, app, one.process, "deploy")
    argv = release.processes.get(one.process) or []
    env = environment(paths, app, port)
    raw_env.create(engine, paths, app, one.name, words, release.image, argv, env)
    attach_networks(engine, paths, app, one.name)


def attach_networks(engine: Engine, paths: Paths, app: str, name: str) -> None:
    """Put a container on the networks that the app is to be on besides the one of all apps."""
    for network in map(str, store.section(paths, app, "network").get("attach", [])):
        with store.alone(paths, "networks"):
            # An app from another device's backup brings its networks along.
            if engine.network(network) is None:
                engine.create_network(network, labels={NETWORK_LABEL: network})
        engine.connect(network, name)


def _labels(app: str, release: Release, one: Running) -> dict[str, str]:
    return labels(app, release.number, one.process, one.index)


def older(engine: Engine, app: str, number: int) -> list[str]:
    """Ids of the containers that are of releases before that one; none of them is a one-off.

    By the time that a name is used it may be another app's: releases of one that is made anew begin with 1.
    """
    found = []
    for one in engine.containers(**{LABEL: app}):
        labels = one.get("Labels") or {}
        release = str(labels.get("crew.release", ""))
        if "crew.process" in labels and release.isdigit() and int(release) < number:
            found.append(str(one["Id"]))
    return found


def remove_others(engine: Engine, app: str, number: int, seconds: int = 0) -> int:
    """Stop and remove containers of an app that are not of a release (0: all); how many there were."""
    count = 0
    for found in engine.containers(**{LABEL: app}):
        if found.get("Labels", {}).get("crew.release") == str(number):
            continue
        if found.get("Labels", {}).get("crew.process") is None:
            # A one-off container: it ends by itself.
            continue
        name = str(found["Names"][0]).lstrip("/")
        if seconds and found.get("State") == "running":
            engine.stop(name, seconds)
        engine.remove(name)
        count += 1
    return count
