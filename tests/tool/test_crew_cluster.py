"""Clusters: what the engine is asked for, and what is put back when that fails."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
from collections.abc import Iterator

import pytest

from skiff_device.crew import cluster, interfaces, registry
from skiff_device.crew.command import Caller
from tests.tool.crew_device import CrewDevice
from tests.tool.fake_swarm import MANAGER, WORKER

READ = Caller("rita", "read")


class Ports:
    """Stands in for the service crew-cluster: keeps the ports to the interface that crew wrote down."""

    def __init__(self, crew: CrewDevice) -> None:
        control = crew.paths.root / "etc/service/crew-cluster/supervise/control"
        sites = crew.paths.root / "etc/service/crew-sites/supervise/control"
        for one in (control, sites):
            one.parent.mkdir(parents=True)
            os.mkfifo(one)
        self.sites = os.open(sites, os.O_RDWR)
        self._fifo = os.open(control, os.O_RDWR)
        self.wanted = crew.paths.crew / "cluster/interface"
        self.kept = crew.paths.root / "run/skiff/cluster"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while b"x" not in os.read(self._fifo, 100):
            if self.wanted.exists():
                self.kept.write_text(self.wanted.read_text())
            else:
                self.kept.unlink(missing_ok=True)

    def close(self) -> None:
        """End it, when it has done what it was told."""
        os.write(self._fifo, b"x")
        self._thread.join()
        os.close(self._fifo)
        os.close(self.sites)


@pytest.fixture
def board(crew: CrewDevice, monkeypatch: pytest.MonkeyPatch) -> Iterator[CrewDevice]:
    """A device whose image has the layer, with an interface eth1."""
    (crew.paths.root / "sys/class/net/eth1").mkdir(parents=True)
    monkeypatch.setattr(cluster, "_PAUSE", 0.01)
    ports = Ports(crew)
    yield crew
    ports.close()


@pytest.fixture
def manager(board: CrewDevice) -> CrewDevice:
    """One that has made a cluster."""
    assert board.run("cluster:init", "--interface", "eth1").status == 0
    return board


def interface(board: CrewDevice) -> str:
    """What outlives a power cut."""
    file = board.paths.crew / "cluster/interface"
    return file.read_text().strip() if file.exists() else ""


def test_a_cluster_is_made_on_one_interface(manager: CrewDevice) -> None:
    _, body = manager.engine.swarm.asked[0]
    addresses = {key: value for key, value in body.items() if key.endswith("Addr")}
    assert addresses == {"ListenAddr": "eth1:2377", "AdvertiseAddr": "eth1", "DataPathAddr": "eth1"}
    assert interface(manager) == "eth1"
    assert "cluster:init on eth1" in manager.events()
    assert "already" in manager.run("cluster:init").err


@pytest.mark.parametrize(
    ("name", "message"), [("eth7", "there is no interface eth7"), ("../x", "is no name of an interface")]
)
def test_an_interface_that_is_not_there(board: CrewDevice, name: str, message: str) -> None:
    assert message in board.run("cluster:init", "--interface", name).err
    assert not board.engine.swarm.asked


def test_the_interface_that_leads_to_a_host() -> None:
    assert interfaces.towards("127.0.0.1") == "lo"


@pytest.mark.parametrize("goes_on", [False, True])
def test_what_fails_leaves_nothing(board: CrewDevice, goes_on: bool) -> None:
    board.engine.swarm.refuse, board.engine.swarm.goes_on = "Timeout was reached", goes_on
    assert "Swarm: Timeout was reached" in board.run("cluster:init", "--interface", "eth1").err
    assert board.engine.swarm.state["LocalNodeState"] == "inactive"
    assert interface(board) == ""


def test_podman_says_one_clear_line(board: CrewDevice) -> None:
    board.engine.components = [{"Name": "Podman Engine"}]
    for words in (("cluster:init",), ("cluster:report",), ("cluster:leave",)):
        assert "podman knows no clusters" in board.run(*words).err


def test_an_image_without_the_layer(crew: CrewDevice) -> None:
    assert "add layer apps/cluster" in crew.run("cluster:init").err


def test_live_restore_is_told_of(board: CrewDevice) -> None:
    board.engine.swarm.live_restore = True
    assert "live-restore" in board.run("cluster:init", "--interface", "eth1").err


def test_tokens_are_the_managers(manager: CrewDevice) -> None:
    assert manager.run("cluster:token").text.strip() == WORKER
    assert manager.run("cluster:token", "--manager").text.strip() == MANAGER
    assert "may not" in manager.run("cluster:token", caller=READ).err
    assert WORKER not in manager.events()


def test_joining_reads_the_token_from_standard_input(
    board: CrewDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    (board.paths.root / "sys/class/net/lo").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setattr(cluster, "PORT", listening.getsockname()[1])
        done = board.run("cluster:join", "127.0.0.1", stdin=f"{WORKER}\n".encode())
    assert done.status == 0, done.err
    assert board.engine.swarm.asked[-1][1]["JoinToken"] == WORKER
    assert interface(board) == "lo"
    assert WORKER not in board.events() + done.text + done.err
    # Now a worker, which knows whom to ask.
    assert "ask one: 10.9.9.1:2377" in board.run("cluster:token").err
    assert board.run("cluster:leave").status == 0
    assert interface(board) == ""


@pytest.mark.parametrize("given", [b"", b"\n", b"SWMTKN-1-short\n", WORKER.upper().encode()])
def test_joining_without_a_token(board: CrewDevice, given: bytes) -> None:
    assert "no token came" in board.run("cluster:join", "127.0.0.1", stdin=given).err
    assert not board.engine.swarm.asked


def test_joining_somebody_who_does_not_answer(board: CrewDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    (board.paths.root / "sys/class/net/lo").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(cluster, "PORT", free.getsockname()[1])
        done = board.run("cluster:join", "127.0.0.1", stdin=WORKER.encode())
    assert "does not answer on port" in done.err
    assert interface(board) == ""


def test_managers_are_made_and_unmade(manager: CrewDevice) -> None:
    swarm = manager.engine.swarm
    swarm.add("board2")
    swarm.quicker = 2
    assert manager.run("cluster:promote", "board2").status == 0
    assert swarm.named("board2")[0]["Spec"]["Role"] == "manager"
    assert manager.run("cluster:demote", "Board2").status == 0
    assert swarm.named("board2")[0]["Spec"]["Role"] == "worker"
    swarm.add("board3", state="down")
    assert "board3 is not there" in manager.run("cluster:promote", "board3").err
    assert "there is no device board9" in manager.run("cluster:promote", "board9").err


def test_the_last_manager_leaves_by_force_alone(manager: CrewDevice) -> None:
    assert "last manager" in manager.run("cluster:leave").err
    assert interface(manager) == "eth1"
    assert manager.run("cluster:leave", "--force").status == 0
    assert manager.engine.swarm.state["LocalNodeState"] == "inactive"
    assert interface(manager) == ""


def test_a_manager_gives_up_its_vote_before_it_leaves(manager: CrewDevice) -> None:
    swarm = manager.engine.swarm
    swarm.add("board2", "manager")
    swarm.state["Managers"] = 2
    assert manager.run("cluster:leave").status == 0
    assert swarm.named("board1")[0]["Spec"]["Role"] == "worker"


def test_what_most_managers_took_with_them_is_recovered(manager: CrewDevice) -> None:
    swarm = manager.engine.swarm
    assert "nothing is to be recovered" in manager.run("cluster:recover").err
    swarm.has_leader = False
    assert manager.run("cluster:recover").status == 0
    asked, body = swarm.asked[-1]
    assert asked == "init" and body["ForceNewCluster"] and body["AdvertiseAddr"] == "eth1"
    assert "leader:" in manager.run("cluster:report").text


def test_a_registry_of_the_clusters_own(manager: CrewDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "add layer apps/registry" in manager.run("cluster:registry").err
    program = manager.paths.root / "usr/bin/docker-registry"
    program.parent.mkdir(parents=True)
    shutil.copy("/bin/true", program)
    swarm = manager.engine.swarm
    for _ in range(2):
        done = manager.run("cluster:registry")
        assert done.status == 0, done.err
        assert "docker push 127.0.0.1:7947/NAME" in done.text
    task = swarm.services["crew-registry"]["TaskTemplate"]
    image = task["ContainerSpec"]["Image"]
    assert image in manager.engine.images and image.startswith("127.0.0.1:1/")
    assert manager.engine.calls.count("POST /images/create") == 1
    assert task["Placement"]["Constraints"] == [f"node.id=={swarm.state['NodeID']}"]
    [mount] = task["ContainerSpec"]["Mounts"]
    assert mount["Source"] == str(manager.paths.crew / "registry")
    # It says why it does not come up.
    monkeypatch.setattr(registry, "_LONGEST", 0)
    swarm.task_status = {"State": "failed", "Err": "no space left"}
    assert "no space left" in manager.run("cluster:registry").err
    assert manager.run("cluster:registry", "--off").status == 0
    assert not swarm.services and (manager.paths.crew / "registry").is_dir()
    assert "has no registry" in manager.run("cluster:registry", "--off").err


def test_labels_of_a_device(manager: CrewDevice) -> None:
    assert manager.run("cluster:label", "board1", "site=museum", "door=east").status == 0
    assert manager.run("cluster:label", "board1", "door=").status == 0
    assert manager.engine.swarm.named("board1")[0]["Spec"]["Labels"] == {"site": "museum"}
    assert "is no KEY=VALUE" in manager.run("cluster:label", "board1", "site").err


def test_a_new_board_of_a_lost_ones_name(manager: CrewDevice) -> None:
    swarm = manager.engine.swarm
    lost = swarm.add("board2", "manager", state="down", site="museum")
    waiting = manager.start("cluster:token", "--replace", "board2")
    assert waiting.stdout is not None and waiting.stderr is not None
    assert waiting.stdout.readline().decode().strip() == MANAGER
    assert lost not in swarm.nodes
    swarm.quicker = 1
    new = swarm.add("board2", "manager")
    assert waiting.wait(30) == 0, waiting.stderr.read()
    assert swarm.nodes[new]["Spec"]["Labels"] == {"site": "museum"}


def test_one_that_is_there_is_not_forgotten(manager: CrewDevice) -> None:
    swarm = manager.engine.swarm
    number = swarm.add("board2")
    for words in (("cluster:remove", "board2"), ("cluster:token", "--replace", "board2")):
        assert "board2 is there" in manager.run(*words).err
    swarm.nodes[number]["Status"]["State"] = "down"
    # Of two with the name it is the lost one.
    again = swarm.add("board2")
    assert manager.run("cluster:remove", "board2").status == 0
    assert number not in swarm.nodes and again in swarm.nodes


def test_the_report(manager: CrewDevice) -> None:
    manager.engine.swarm.add("board2", state="down", site="museum")
    found = json.loads(manager.run("cluster:report", "--json", caller=READ).text)
    assert (found["state"], found["role"], found["leader"]) == ("active", "manager", "board1")
    assert [one["state"] for one in found["devices"].values()] == ["ready", "down"]
    assert "worker down active x86_64 10.9.9.2 site=museum" in manager.run("cluster:report").text
    # Cut off from the others it tells nothing that may be old.
    manager.engine.swarm.has_leader = False
    found = json.loads(manager.run("cluster:report", "--json").text)
    assert "devices" not in found and "fewer than half of the managers" in found["error"]
    assert "fewer than half of the managers" in manager.run("cluster:label", "board2", "a=b").err
    manager.engine.swarm.has_leader = True
    manager.run("cluster:leave", "--force")
    assert "in no cluster" in manager.run("cluster:report").text


def test_names_of_apps_are_asked_for_while_it_is_in_a_cluster(board: CrewDevice) -> None:
    told = os.open(board.paths.root / "etc/service/crew-sites/supervise/control", os.O_RDONLY | os.O_NONBLOCK)
    board.run("cluster:init", "--interface", "eth1")
    assert os.read(told, 10) == b"u"
    board.run("cluster:leave", "--force")
    assert os.read(told, 10) == b"t"
    os.close(told)
