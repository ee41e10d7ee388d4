"""A release for the cluster is tried on this device before anything changes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from skiff_device.common.errors import DeviceError
from skiff_device.crew import check, deploy, release, service_trial
from tests.tool.crew_device import CrewDevice
from tests.tool.fake_engine import Container
from tests.tool.test_crew_services import clustered, shop

__all__ = ["clustered", "shop"]

# What Swarm calls the container, and where this device reaches it.
NAME = "crew-trial-shop.0"
BRIDGE = {"Name": "docker_gwbridge", "Containers": {NAME: {"IPv4Address": "127.0.0.1/16"}}}


class Page(BaseHTTPRequestHandler):
    """The app: one page, which says what it is."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
        self.wfile.write(b"all is well")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def port() -> Iterator[int]:
    """Where the app listens."""
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def tried(clustered: CrewDevice) -> CrewDevice:
    """A device whose engine runs the container of a trial."""
    clustered.run("checks:enable", "shop")
    container = Container(NAME, "shop", [], {}, {}, {}, status="running")
    container.log.append((2, "2026-01-02T03:04:05.000000001Z", b"something of mine"))
    clustered.engine.containers[NAME] = container
    clustered.engine.networks["docker_gwbridge"] = BRIDGE
    return clustered


def push(crew: CrewDevice, port: int, checks: str) -> str:
    """Deploy the app; what was said."""
    crew.engine.image("shop", port)
    said: list[str] = []
    try:
        deploy.deploy(crew.paths, "shop", "shop", "push", checks=checks, say=said.append)
    except DeviceError as error:
        said.append(error.message)
    assert "crew-trial-shop" not in crew.engine.swarm.services
    return "\n".join(said)


def test_pages_are_asked_for_before_anything_changes(tried: CrewDevice, port: int) -> None:
    assert "web.1: passed /health" in push(tried, port, "/health well\n")
    assert "does not pass /nothere: status 404" in push(tried, port, "ATTEMPTS=1\nWAIT=0\n/nothere\n")
    assert "does not hold 'ill'" in push(tried, port, "ATTEMPTS=1\nWAIT=0\n/health ill\n")
    assert release.numbers(tried.paths, "shop") == [1]
    assert tried.engine.swarm.services["shop_web"]["Labels"]["crew.cluster.release"] == "1"


def test_without_checks_it_has_to_listen(
    tried: CrewDevice, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f"web.1: listens on port {port}" in push(tried, port, "")
    monkeypatch.setattr(check, "LONGEST", 0.3)
    assert "does not listen on port 1 " in push(tried, 1, "")


def test_one_that_ends_tells_its_last_words(tried: CrewDevice, port: int) -> None:
    tried.engine.swarm.task_status = {"State": "failed", "Err": "task: non-zero exit (3)"}
    tried.engine.containers[NAME].status, tried.engine.containers[NAME].code = "exited", 3
    said = push(tried, port, "")
    assert "something of mine" in said and "web.1 ended with status 3" in said


def test_one_that_is_never_started(tried: CrewDevice, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tried.engine.swarm.task_status = {"State": "pending", "Err": "no suitable node"}
    monkeypatch.setattr(check, "LONGEST", 0.3)
    assert "web does not start: no suitable node" in push(tried, port, "")


def test_the_trial_is_the_release_on_this_device_alone(tried: CrewDevice, port: int) -> None:
    tried.run("ps:scale", "shop", "web=6")
    tried.run("apps:set", "--place", "node.labels.site==museum", "shop")
    tried.run("secrets:set", "shop", "key", stdin=b"x")
    asked = tried.engine.swarm.created
    push(tried, port, "")
    trial, web = asked["crew-trial-shop"], asked["shop_web"]
    assert trial["Mode"] == {"Replicated": {"Replicas": 1}}
    assert "Ports" not in trial["EndpointSpec"]
    task = trial["TaskTemplate"]
    assert task["ContainerSpec"] == web["TaskTemplate"]["ContainerSpec"]
    assert task["ContainerSpec"]["Secrets"] and f"PORT={port}" in task["ContainerSpec"]["Env"]
    number = tried.engine.swarm.state["NodeID"]
    assert task["Placement"]["Constraints"] == [f"node.id=={number}"]
    # Nobody who asks for the app by its name comes to it.
    assert task["Networks"] == [{"Target": "crew-cluster"}]


@pytest.mark.parametrize("why", ["drained", "of another CPU"])
def test_a_device_that_does_not_run_it_asks_nothing(tried: CrewDevice, port: int, why: str) -> None:
    swarm = tried.engine.swarm
    swarm.add("board2")
    here = swarm.nodes[swarm.state["NodeID"]]
    if why == "drained":
        here["Spec"]["Availability"] = "drain"
    else:
        here["Description"]["Platform"]["Architecture"] = "aarch64"
    assert "web: not asked before" in push(tried, port, "/nothere\n")
    assert release.current_number(tried.paths, "shop") == 1


def test_what_is_not_checked_is_not_tried(tried: CrewDevice, port: int) -> None:
    tried.run("checks:skip", "shop", "web")
    push(tried, port, "/nothere\n")
    assert service_trial.name_of("shop") not in tried.engine.swarm.created
