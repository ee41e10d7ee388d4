"""What the container engine has of clusters: Swarm, by the engine's own API (podman has none)."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote

from skiff_device.common.errors import DeviceError
from skiff_device.crew.engine_api import Api, Refused

# The port that managers listen on; Swarm's own choice.
PORT = 2377
# Addresses of networks across devices. Swarm's own 10.0.0.0/8 begins where many a home network is (RFC 1918).
_POOL = ["10.210.0.0/16"]
# How many ended tasks Swarm remembers for each one that runs: a container each, on a small disk.
_HISTORY = 1
# What managers say that have no leader, or lose theirs while they are asked.
_LEADERLESS = ("does not have a leader", "DeadlineExceeded", "lost leader status", "no elected")
# What Swarm says when somebody else, or itself, changed or made the service meanwhile.
_MEANWHILE = ("out of sequence", "already exists")
# In seconds: how long managers may take to choose a leader anew, and until they are asked again.
_ELECTION = 60.0
_PAUSE = 0.5

Answer = TypeVar("Answer")
Node = dict[str, Any]


class NoLeader(DeviceError):
    """The managers that are there are no majority: nothing can be told for sure, and nothing changed."""

    def __init__(self) -> None:
        super().__init__(
            "fewer than half of the managers are there: nothing can be changed",
            "what runs goes on; switch the others on",
        )


class Swarm(Api):
    """The cluster as the engine of this device sees it."""

    def state(self) -> dict[str, Any]:
        """What this device is in a cluster: LocalNodeState, ControlAvailable, NodeID, Error …"""
        return dict(self.ask("GET", "/info").get("Swarm") or {})

    def init(self, interface: str, recover: bool = False) -> None:
        """Make a cluster of this device alone, for others by that interface.

        recover: of what it knows of the one that it is in, with no other manager.
        """
        body = {
            **_addresses(interface),
            "DefaultAddrPool": _POOL,
            "SubnetSize": 24,
            "ForceNewCluster": recover,
        }
        spec = {"Orchestration": {"TaskHistoryRetentionLimit": _HISTORY}}
        self.ask("POST", "/swarm/init", body={**body, "Spec": spec})

    def join(self, interface: str, host: str, token: str) -> None:
        """Become part of the cluster that a manager belongs to; the token says as what."""
        body = {**_addresses(interface), "RemoteAddrs": [f"{host}:{PORT}"], "JoinToken": token}
        self.ask("POST", "/swarm/join", body=body)

    def leave(self, force: bool) -> None:
        """Be no part of it any more. A manager leaves by force alone, and its vote is missed then."""
        self.ask("POST", "/swarm/leave", {"force": int(force)})

    def token(self, role: str) -> str:
        """What lets a device in, as a `worker` or a `manager`."""
        return str(self.ask_managers("GET", "/swarm")["JoinTokens"][role.capitalize()])

    def nodes(self) -> list[Node]:
        """The devices, by name."""
        return sorted(self.ask_managers("GET", "/nodes") or [], key=name_of)

    def node(self, number: str) -> Node | None:
        """One of them by its id, or None."""
        found = [node for node in self.nodes() if node["ID"] == number]
        return found[0] if found else None

    def change_node(self, node: Node, **spec: Any) -> None:
        """Change what the cluster wants of a device: Role, Labels, Availability."""
        version = {"version": node["Version"]["Index"]}
        self.ask_managers("POST", f"/nodes/{quote(node['ID'])}/update", version, {**node["Spec"], **spec})

    def remove_node(self, node: Node) -> None:
        """Forget a device. One that is there is not kept out by it."""
        self.ask_managers("DELETE", f"/nodes/{quote(node['ID'])}", {"force": 1})

    def service(self, name: str) -> dict[str, Any] | None:
        """A service by its name, or None."""
        found = self.ask_managers("GET", "/services", {"filters": {"name": [name]}})
        return next((one for one in found or [] if one["Spec"]["Name"] == name), None)

    def labelled(self, label: str) -> list[str]:
        """Names of the services of a label, `name` or `name=value`."""
        found = self.ask_managers("GET", "/services", {"filters": {"label": [label]}})
        return [str(one["Spec"]["Name"]) for one in found or []]

    def create_service(self, spec: dict[str, Any]) -> None:
        """Make a service."""
        self.ask_managers("POST", "/services/create", body=spec)

    def update_service(self, service: dict[str, Any], spec: dict[str, Any]) -> None:
        """Change a service."""
        version = {"version": service["Version"]["Index"]}
        self.ask_managers("POST", f"/services/{quote(service['ID'])}/update", version, spec)

    def remove_service(self, name: str) -> None:
        """End a service and forget it; one that is gone is no error."""
        try:
            self.ask_managers("DELETE", f"/services/{quote(name)}")
        except Refused as error:
            if error.status != 404:
                raise

    def tasks(self, name: str) -> list[dict[str, Any]]:
        """Containers of a service, also some that ended."""
        return list(self.ask_managers("GET", "/tasks", {"filters": {"service": [name]}}) or [])

    def desired(self, name: str) -> int:
        """How many containers a service should have just now."""
        found = self.ask_managers("GET", "/services", {"filters": {"name": [name]}, "status": 1})
        status = [one.get("ServiceStatus") or {} for one in found or [] if one["Spec"]["Name"] == name]
        return int(status[0].get("DesiredTasks", 0)) if status else 0

    def objects(self, kind: str, label: str) -> list[dict[str, Any]]:
        """The `secrets` or `configs` of a label, `name` or `name=value`."""
        return list(self.ask_managers("GET", f"/{kind}", {"filters": {"label": [label]}}) or [])

    def create_object(self, kind: str, name: str, labels: dict[str, str], data: bytes) -> None:
        """Make a secret or a config. What it holds is never changed."""
        body = {"Name": name, "Labels": labels, "Data": base64.b64encode(data).decode()}
        self.ask_managers("POST", f"/{kind}/create", body=body)

    def label_object(self, kind: str, found: dict[str, Any], labels: dict[str, str]) -> None:
        """Change the labels of a secret or a config."""
        version = {"version": found["Version"]["Index"]}
        body = {**found["Spec"], "Labels": labels}
        self.ask_managers("POST", f"/{kind}/{quote(found['ID'])}/update", version, body)

    def remove_object(self, kind: str, found: dict[str, Any]) -> None:
        """Forget a secret or a config. Refused while a service has it."""
        self.ask_managers("DELETE", f"/{kind}/{quote(found['ID'])}")

    def ask_managers(
        self, method: str, path: str, query: dict[str, Any] | None = None, body: Any = None
    ) -> Any:
        """What takes a majority of managers. Raises NoLeader without one."""
        try:
            return self.ask(method, path, query, body)
        except Refused as error:
            # It has no status of its own.
            if any(words in error.message for words in _LEADERLESS):
                raise NoLeader from None
            raise


def patiently(ask: Callable[[], Answer]) -> Answer:
    """Ask managers until they can answer: under load they lose each other, and choose a leader anew."""
    deadline = time.monotonic() + _ELECTION
    while True:
        try:
            return ask()
        except (NoLeader, Refused) as error:
            passes = isinstance(error, NoLeader) or any(words in error.message for words in _MEANWHILE)
            if not passes or time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE)


def name_of(node: Node) -> str:
    """The host name of a device."""
    return str(node["Description"].get("Hostname", ""))


def is_there(node: Node) -> bool:
    """Whether the cluster hears of a device."""
    return str(node["Status"].get("State")) == "ready"


def _addresses(interface: str) -> dict[str, str]:
    """All that Swarm does with others goes by one interface."""
    return {
        "ListenAddr": f"{interface}:{PORT}",
        "AdvertiseAddr": interface,
        "DataPathAddr": interface,
    }
