"""A cluster of devices: Docker's Swarm, its ports on one interface, its tokens on no command line.

Swarm keeps what it needs with the engine's data on persist, and comes back with the engine. Here is only
skiff/crew/cluster/interface: which interface the cluster's ports are for.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from skiff_device.common.errors import DeviceError
from skiff_device.common.files import write_atomically
from skiff_device.crew import interfaces, names, service, store
from skiff_device.crew.engine import Engine
from skiff_device.crew.engine_api import Refused
from skiff_device.crew.engine_swarm import PORT, Node, NoLeader, Swarm, is_there, name_of
from skiff_device.crew.paths import Paths

Say = Callable[[str], None]
SERVICE = "crew-cluster"
# Brings names of apps from one manager to the others; see cluster_sites.
SITES = "crew-sites"
# As the engine makes them: version, digest of the cluster's certificate authority, secret.
_TOKEN = re.compile(r"SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}")
# In seconds: for the firewall's rules, for votes of managers, and for somebody to carry a token over.
_RULES = 60.0
_VOTE = 60.0
_ARRIVAL = 600.0
_PAUSE = 0.2


def able(paths: Paths) -> Swarm:
    """The engine, when this device can be in a cluster. Raises DeviceError."""
    engine = Engine(paths)
    if engine.is_podman():
        raise DeviceError(
            "podman knows no clusters",
            "they are Docker's; skiff fleet takes all devices",
        )
    if not (paths.root / "etc/service" / SERVICE).is_dir():
        raise DeviceError("this image knows no clusters", "add layer apps/cluster")
    if engine.info().get("LiveRestoreEnabled"):
        raise DeviceError(
            "Swarm refuses an engine with live-restore",
            "take it out of skiff/docker.json on persist, then: sv restart docker",
        )
    return Swarm(paths)


def manager(paths: Paths) -> Swarm:
    """The engine, when this device is a manager. Raises DeviceError."""
    swarm = able(paths)
    state = swarm.state()
    if state.get("LocalNodeState") == "inactive":
        raise DeviceError("this device is in no cluster", "cluster:init, or cluster:join")
    if not state.get("ControlAvailable"):
        there = ", ".join(str(one.get("Addr")) for one in state.get("RemoteManagers") or [])
        raise DeviceError("this device is no manager of its cluster", f"ask one: {there}")
    return swarm


def init(paths: Paths, interface: str) -> str:
    """Make a cluster of this device; the interface that others reach it by. Raises DeviceError."""
    swarm = _outside(paths)
    interface = _checked(paths, interface or interfaces.towards())
    _enter(paths, swarm, interface, lambda: swarm.init(interface))
    return interface


def recover(paths: Paths) -> None:
    """Be the only manager of this device's cluster, when most of the others are lost. Raises DeviceError."""
    swarm = manager(paths)
    try:
        swarm.nodes()
    except NoLeader:
        swarm.init(_interface(paths), recover=True)
        return
    raise DeviceError(
        "most managers are there: nothing is to be recovered", "cluster:remove forgets lost ones"
    )


def join(paths: Paths, interface: str, host: str, token: str) -> str:
    """Become part of a manager's cluster; the interface that leads to it. Raises DeviceError."""
    if not _TOKEN.fullmatch(token):
        raise DeviceError(
            "no token came through standard input",
            "ssh crew@MANAGER cluster:token | ssh crew@DEVICE cluster:join HOST",
        )
    swarm = _outside(paths)
    interface = _checked(paths, interface or interfaces.towards(host))
    try:
        socket.create_connection((host, PORT), 10).close()
    except OSError as error:
        why = error.strerror or str(error)
        raise DeviceError(
            f"{host} does not answer on port {PORT}: {why}",
            "name a manager by the address that cluster:report shows",
        ) from None
    _enter(paths, swarm, interface, lambda: swarm.join(interface, host, token))
    return interface


def leave(paths: Paths, force: bool, say: Say) -> None:
    """Leave the cluster; a manager gives up its vote before, where that can be. Raises DeviceError."""
    swarm = able(paths)
    state = swarm.state()
    if state.get("LocalNodeState") == "inactive":
        raise DeviceError("this device is in no cluster", "")
    if state.get("ControlAvailable") and not force:
        if int(state.get("Managers", 1)) < 2:
            raise DeviceError(
                "this is the last manager: the cluster and its apps end with it",
                "cluster:promote another device, or: cluster:leave --force",
            )
        set_role(swarm, state["NodeID"], "worker")
        _await_demotion(swarm)
        say("no manager any more")
    swarm.leave(force)
    _close(paths)


def _await_demotion(swarm: Swarm) -> None:
    """The others know it first that this device votes no more."""
    end = time.monotonic() + _VOTE
    while swarm.state().get("ControlAvailable"):
        if time.monotonic() > end:
            raise DeviceError("this device is a manager still", "cluster:report; cluster:leave once more")
        time.sleep(_PAUSE)


def set_role(swarm: Swarm, number: str, role: str) -> None:
    """Make a device a `worker` or a `manager`, and wait until it is. Raises DeviceError."""
    end = time.monotonic() + _VOTE
    while True:
        try:
            node = swarm.node(number)
            if node is None or _has_role(node, role):
                return
            if node["Spec"]["Role"] != role:
                swarm.change_node(node, Role=role)
        except NoLeader:
            # They choose one just now, or cannot.
            if time.monotonic() > end:
                raise
        except Refused as error:
            # A device that gave up its own vote is told no more of the cluster.
            if role == "worker" and not swarm.state().get("ControlAvailable"):
                return
            # Somebody else changed it meanwhile.
            if "out of sequence" not in error.message:
                raise
        if time.monotonic() > end:
            raise DeviceError(f"the device is no {role} yet", "cluster:report; it must be switched on")
        time.sleep(_PAUSE)


def _has_role(node: Node, role: str) -> bool:
    """Whether a device is wanted as that, and votes or does not."""
    return node["Spec"]["Role"] == role and ("ManagerStatus" in node) == (role == "manager")


def named(swarm: Swarm, text: str) -> Node:
    """A device by its name: of several the one that is there. Raises DeviceError."""
    return _of_name(swarm, text)[0]


def must_be_there(node: Node) -> None:
    """Raise DeviceError when the cluster does not hear of a device."""
    if not is_there(node):
        raise DeviceError(f"{name_of(node)} is not there", "switch it on; cluster:report")


def remove(swarm: Swarm, text: str) -> Node:
    """Forget a device that is lost; what was known of it. Raises DeviceError for one that is there."""
    lost = _of_name(swarm, text)[-1]
    if is_there(lost):
        name = name_of(lost)
        raise DeviceError(
            f"{name} is there, and would come back",
            f"on {name}: cluster:leave; switched off, it is given up after some seconds",
        )
    if "ManagerStatus" in lost:
        set_role(swarm, lost["ID"], "worker")
    swarm.remove_node(lost)
    return lost


def _of_name(swarm: Swarm, text: str) -> list[Node]:
    """The devices that have or had a name, those that are there first. Raises DeviceError."""
    name = names.domain(text)
    found = [node for node in swarm.nodes() if name_of(node).lower() == name]
    if not found:
        raise DeviceError(f"there is no device {name}", "cluster:report shows all")
    return sorted(found, key=is_there, reverse=True)


def await_successor(swarm: Swarm, lost: Node, say: Say) -> None:
    """Wait for a device of that name, and give it what was set for the lost one. Raises DeviceError."""
    name = name_of(lost)
    kept = {key: lost["Spec"][key] for key in ("Labels", "Availability") if lost["Spec"].get(key)}
    end = time.monotonic() + _ARRIVAL
    while time.monotonic() < end:
        # A manager that comes has them choose a leader, and the cluster itself changes it meanwhile.
        with suppress(NoLeader, Refused):
            node = next((one for one in swarm.nodes() if name_of(one) == name and is_there(one)), None)
            if node is not None:
                swarm.change_node(node, **kept)
                say(f"{name} is there again")
                return
        time.sleep(_PAUSE)
    raise DeviceError(f"{name} has not come", "cluster:token lets it in later; then cluster:label")


def report(paths: Paths) -> dict[str, Any]:
    """What this device knows of its cluster; `devices` are there on managers alone."""
    swarm = able(paths)
    state = swarm.state()
    rows: dict[str, Any] = {
        "state": str(state.get("LocalNodeState", "")),
        "interface": _interface(paths),
        "address": str(state.get("NodeAddr", "")),
        "role": "manager" if state.get("ControlAvailable") else "worker",
    }
    if rows["state"] in ("inactive", ""):
        return {"state": "in no cluster"}
    if state.get("Error"):
        rows["error"] = str(state["Error"])
    rows["managers"] = [str(one.get("Addr")) for one in state.get("RemoteManagers") or []]
    if state.get("ControlAvailable"):
        try:
            found = swarm.nodes()
        except NoLeader as error:
            rows["error"] = error.message
            return rows
        rows["leader"] = next((name_of(n) for n in found if (n.get("ManagerStatus") or {}).get("Leader")), "")
        rows["devices"] = {f"{name_of(node)} {node['ID'][:5]}": _device(node) for node in found}
    return rows


def _device(node: Node) -> dict[str, Any]:
    """A line of the report."""
    return {
        "state": node["Status"].get("State", ""),
        "role": node["Spec"]["Role"],
        "availability": node["Spec"].get("Availability", ""),
        "cpu": node["Description"].get("Platform", {}).get("Architecture", ""),
        "address": node["Status"].get("Addr", ""),
        "labels": node["Spec"].get("Labels") or {},
    }


def _outside(paths: Paths) -> Swarm:
    """The engine, when this device is in no cluster yet. Raises DeviceError."""
    swarm = able(paths)
    if swarm.state().get("LocalNodeState") != "inactive":
        raise DeviceError("this device is in a cluster already", "cluster:report; cluster:leave")
    return swarm


def _checked(paths: Paths, interface: str) -> str:
    if not (paths.root / "sys/class/net" / names.interface(interface)).exists():
        raise DeviceError(f"there is no interface {interface}", "ls /sys/class/net")
    return interface


def _enter(paths: Paths, swarm: Swarm, interface: str, enter: Callable[[], None]) -> None:
    """Open ports on an interface and do what makes this device part of a cluster; all of it or nothing."""
    try:
        _open(paths, interface)
        enter()
    except BaseException as error:
        # What took too long would go on in the background.
        if swarm.state().get("LocalNodeState") != "inactive":
            swarm.leave(force=True)
        _close(paths)
        if isinstance(error, Refused):
            raise DeviceError(f"Swarm: {error.message}", "less /run/log/messages") from None
        raise


def _file(paths: Paths) -> Path:
    return paths.crew / "cluster/interface"


def _interface(paths: Paths) -> str:
    try:
        return _file(paths).read_text().strip()
    except OSError:
        return ""


def _open(paths: Paths, interface: str) -> None:
    """Have the cluster's ports kept to an interface, before Swarm listens on them. Raises DeviceError."""
    write_atomically(_file(paths), f"{interface}\n")
    store.sync_folder(_file(paths).parent)
    kept = paths.root / "run/skiff/cluster"
    end = time.monotonic() + _RULES
    while not kept.exists() or kept.read_text().strip() != interface:
        if time.monotonic() > end:
            raise DeviceError("the cluster's ports cannot be kept to one interface", "skiff-status cluster")
        # Again and again, for one that is just ending does not hear it.
        service.control(paths, SERVICE, b"u")
        time.sleep(_PAUSE)
    service.control(paths, SITES, b"u")


def _close(paths: Paths) -> None:
    _file(paths).unlink(missing_ok=True)
    service.control(paths, SERVICE, b"u")
    # It forgets them, and goes down.
    service.control(paths, SITES, b"t")
