"""Stands in for the clusters of the container engine: one device's view, as the engine's API tells it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

WORKER = f"SWMTKN-1-{'a' * 50}-{'w' * 25}"
MANAGER = f"SWMTKN-1-{'a' * 50}-{'m' * 25}"

Answer = tuple[Any, int]


class FakeSwarm:
    """What the engine of this device knows; `asked` has the bodies of requests that change it."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {"LocalNodeState": "inactive", "ControlAvailable": False}
        self.nodes: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, Any]] = []
        # Why `init` and `join` fail, where they are to; whether the engine goes on trying then.
        self.refuse = ""
        self.goes_on = False
        # So many changes are refused, as if somebody else had been quicker.
        self.quicker = 0
        self.has_leader = True
        # So many questions about services come while managers choose a leader.
        self.elections = 0
        self.live_restore = False
        self.services: dict[str, Any] = {}
        # What was asked for, also of those that ended.
        self.created: dict[str, Any] = {}
        self.task_status = {"State": "running"}
        # The same of some services alone, and the devices that those are on.
        self.task_states: dict[str, dict[str, str]] = {}
        self.places: dict[str, str] = {}
        # What their containers write; others are at work.
        self.said: dict[str, str] = {}
        # What happens when a service is made.
        self.on_create: Callable[[Any], None] = lambda body: None
        # The service whose update is taken back, and what became of the last one.
        self.breaks_at = ""
        self.status: dict[str, str] = {}
        # What there is of each kind, by id.
        self.made: list[str] = []
        # What happens before an event is told.
        self.on_event: Callable[[], None] = lambda: None
        self.objects: dict[str, dict[str, Any]] = {"secrets": {}, "configs": {}}

    def add(self, name: str, role: str = "worker", state: str = "ready", **labels: str) -> str:
        """A device of the cluster; returns its id."""
        number = f"{len(self.nodes) + 1:05d}node"
        self.nodes[number] = {
            "ID": number, "Version": {"Index": 10},
            "Spec": {"Role": role, "Availability": "active", "Labels": labels},
            "Description": {"Hostname": name, "Platform": {"Architecture": "x86_64"}},
            "Status": {"State": state, "Addr": f"10.9.9.{len(self.nodes) + 1}"},
        }  # fmt: skip
        if role == "manager":
            self.nodes[number]["ManagerStatus"] = {
                "Leader": len(self.nodes) == 1,
                "Reachability": "reachable",
            }
        return number

    def rule(self) -> None:
        """This device is the manager of a cluster with a registry."""
        number = self.add("board1", "manager")
        self.state = {"LocalNodeState": "active", "ControlAvailable": True, "NodeID": number}
        self.services["crew-registry"] = {
            "Name": "crew-registry",
            "TaskTemplate": {},
            "Mode": {"Replicated": {"Replicas": 1}},
        }

    def named(self, name: str) -> list[dict[str, Any]]:
        """The devices of a name."""
        return [node for node in self.nodes.values() if node["Description"]["Hostname"] == name]

    def info(self) -> dict[str, Any]:
        """What /info tells."""
        return {"Swarm": self.state, "LiveRestoreEnabled": self.live_restore}

    def swarm(self, words: list[str], query: dict[str, str], body: Any) -> Answer:
        """Requests to /swarm."""
        if words:
            self.asked.append((words[0], body or query))
            return getattr(self, f"_{words[0]}")(query, body)  # type: ignore[no-any-return]
        return {"JoinTokens": {"Worker": WORKER, "Manager": MANAGER}}, 200

    def _init(self, query: dict[str, str], body: Any) -> Answer:
        if self.refuse:
            return self._failed()
        if body["ForceNewCluster"]:
            self.has_leader = True
            return "node", 200
        self._active(self.add("board1", "manager"), manager=True)
        return "node", 200

    def _join(self, query: dict[str, str], body: Any) -> Answer:
        if self.refuse:
            return self._failed()
        self._active("elsewhere", manager=body["JoinToken"] == MANAGER)
        return None, 200

    def _failed(self) -> Answer:
        if self.goes_on:
            self.state["LocalNodeState"] = "pending"
        return {"message": self.refuse}, 503

    def _active(self, number: str, manager: bool) -> None:
        self.state = {
            "LocalNodeState": "active", "ControlAvailable": manager, "NodeID": number, "NodeAddr": "10.9.9.1",
            "Managers": 1, "RemoteManagers": [{"NodeID": "x", "Addr": "10.9.9.1:2377"}],
        }  # fmt: skip

    def _leave(self, query: dict[str, str], body: Any) -> Answer:
        if self.state["ControlAvailable"] and query.get("force") != "1":
            return {"message": "You are attempting to leave the swarm on a node that is a manager."}, 503
        self.state = {"LocalNodeState": "inactive", "ControlAvailable": False}
        return None, 200

    def service(self, words: list[str], method: str, query: dict[str, str], body: Any) -> Answer:
        """Requests to /services."""
        self.elections -= 1
        if self.elections >= 0:
            return {"message": "rpc error: The swarm does not have a leader."}, 503
        if not words:
            wanted = set(json.loads(query["filters"]).get("label", []))
            told = [self._told(name) for name in self.services]
            return [one for one in told if wanted <= _labels(one)], 200
        if method == "DELETE":
            if self.services.pop(words[0], None) is None:
                return {"message": f"service {words[0]} not found"}, 404
            return None, 200
        if words[-1] == "update":
            self.quicker -= 1
            if self.quicker >= 0:
                return {"message": "rpc error: update out of sequence"}, 500
            if self.services[words[0]]["Mode"].keys() != body["Mode"].keys():
                return {"message": "rpc error: service mode change is not allowed"}, 501
        if words[-1] == "update" and words[0] == self.breaks_at:
            self.status = {"State": "rollback_completed"}
            return None, 200
        self.services[body["Name"]] = self.created[body["Name"]] = body
        self.on_create(body)
        return None, 201

    def _told(self, name: str) -> dict[str, Any]:
        spec = self.services[name]
        ports = [
            {"PublishedPort": 30000, **port} for port in (spec.get("EndpointSpec") or {}).get("Ports") or []
        ]
        count = len(self._tasks(name))
        return {
            "ID": name, "Version": {"Index": 1}, "Spec": spec, "UpdateStatus": self.status,
            "Endpoint": {"Ports": ports}, "ServiceStatus": {"RunningTasks": count, "DesiredTasks": count},
        }  # fmt: skip

    def _tasks(self, name: str) -> list[dict[str, Any]]:
        spec = self.services[name]
        mode = spec["Mode"]
        count = mode["Replicated"]["Replicas"] if "Replicated" in mode else len(self.nodes)
        return [
            {"ID": f"{name}{n}", "NodeID": self.places.get(name, self.state["NodeID"]),
             "Spec": spec["TaskTemplate"], "DesiredState": "running",
             "Status": {**self.task_states.get(name, self.task_status),
                        "ContainerStatus": {"ContainerID": f"{name}.{n}"}}}
            for n in range(count)
        ]  # fmt: skip

    def task(self, query: dict[str, str]) -> Answer:
        """Requests to /tasks, of one service."""
        [name] = json.loads(query["filters"])["service"]
        return self._tasks(name) if name in self.services else [], 200

    def object(self, kind: str, words: list[str], method: str, query: dict[str, str], body: Any) -> Answer:
        """Requests to /secrets and /configs."""
        there = self.objects[kind]
        if words == ["create"]:
            number = f"{kind}-{len(self.made)}"
            there[number] = {
                "ID": number, "Version": {"Index": 3}, "Spec": body,
                "CreatedAt": f"2026-01-02T03:04:05.{len(self.made):09}Z",
            }  # fmt: skip
            self.made.append(number)
            return {"ID": number}, 201
        if words[1:] == ["update"]:
            there[words[0]]["Spec"] = body
            return None, 200
        if method == "DELETE":
            if words[0] in json.dumps(self.services):
                return {"message": f"rpc error: {words[0]} is in use by the following service"}, 400
            del there[words[0]]
            return None, 204
        [label] = json.loads(query["filters"])["label"]
        return [one for one in there.values() if label in _labels(one)], 200

    def names(self, kind: str) -> list[str]:
        """Names of all secrets or configs."""
        return [one["Spec"]["Name"] for one in self.objects[kind].values()]

    def node(self, words: list[str], method: str, query: dict[str, str], body: Any) -> Answer:
        """Requests to /nodes."""
        if not self.state["ControlAvailable"]:
            return {"message": "This node is not a swarm manager."}, 503
        if not self.has_leader:
            return {"message": "rpc error: The swarm does not have a leader."}, 500
        if not words:
            return list(self.nodes.values()), 200
        node = self.nodes.get(words[0])
        if node is None:
            return {"message": f"node {words[0]} not found"}, 404
        if words[1:] == ["update"]:
            return self._update(node, query, body)
        if method == "DELETE":
            if "ManagerStatus" in node:
                return {"message": "the node is a cluster manager and is a member of the raft cluster"}, 400
            del self.nodes[words[0]]
            return None, 200
        return node, 200

    def _update(self, node: dict[str, Any], query: dict[str, str], body: Any) -> Answer:
        self.quicker -= 1
        if self.quicker >= 0 or int(query["version"]) != node["Version"]["Index"]:
            return {"message": "rpc error: update out of sequence"}, 500
        node["Spec"] = body
        node["Version"]["Index"] += 1
        node.pop("ManagerStatus", None)
        if body["Role"] == "manager":
            node["ManagerStatus"] = {"Leader": False, "Reachability": "reachable"}
        elif node["ID"] == self.state["NodeID"]:
            self.state["ControlAvailable"] = False
        return None, 200


def _labels(found: dict[str, Any]) -> set[str]:
    """As filters have them: with their values, and without."""
    given = found["Spec"].get("Labels") or {}
    return {*given, *(f"{key}={value}" for key, value in given.items())}
