"""Three devices on one network of their own: a cluster is made, loses power, gets a new board, and is left.

Three emulated machines on two cores take minutes: without SKIFF_CLUSTER=1 it is skipped.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.vm.apps import crew
from tests.vm.driver import Device
from tests.vm.environments import BOX, enter

MakeDevice = Callable[..., Device]
IMAGE = ("virt/qemu", "apps/registry")


def address(number: int) -> str:
    """Of a board on the cluster's network."""
    return f"192.168.77.{number}"


def lan() -> str:
    """A network of QEMU's for all devices with the same words: a port that nothing else has just now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return f"socket,id=lan,mcast=230.77.0.1:{free.getsockname()[1]},localaddr=127.0.0.1"


def switch_on(board: Device, number: int, network: str) -> None:
    """A device with a second network card, on which the cluster will be."""
    card = f"virtio-net-pci,netdev=lan,mac=52:54:00:77:00:{number:02x}"
    board.start(memory=512, extra=("-netdev", network, "-device", card))


def settle(board: Device, number: int) -> None:
    """Give it its name and address."""
    name = f"board{number}"
    board.wait_for_ssh(300)
    board.wait_for_persist()
    board.succeed(
        f"cd /mnt/persist/skiff && echo {name} >hostname && mkdir -p network && "
        f"echo ADDRESS={address(number)}/24 >network/eth1.conf && sync"
    )
    board.wait_until_succeeds(f"ip -4 addr show dev eth1 | grep -q {address(number)}/24")
    board.wait_until_succeeds(f"test $(hostname) = {name}")
    board.wait_for_unit("crew", "no apps", 300)


def seen_from(board: Device) -> dict[str, Any]:
    """The report of a device."""
    found: dict[str, Any] = json.loads(crew(board, "cluster:report --json").stdout)
    return found


def carry(manager: Device, board: Device, what: str = "") -> None:
    """What a user types: ssh crew@MANAGER cluster:token | ssh crew@BOARD cluster:join 192.168.77.1."""
    tokens = subprocess.Popen(
        enter(manager, *f"cluster:token {what}".split(), user="crew"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert tokens.stdout is not None
    token = tokens.stdout.readline()
    said = crew(board, f"cluster:join {address(1)}", stdin=token).stdout
    assert "by eth1" in said
    assert tokens.wait(300) == 0
    tokens.stdout.close()


def wait_for(board: Device, states: list[str]) -> None:
    """Wait until a manager sees devices in these states."""
    words = " ".join(states)
    board.wait_until_succeeds(
        "docker node ls --format '{{.Hostname}}:{{.Status}}:{{.ManagerStatus}}' >/tmp/nodes && "
        f"test \"$(sort /tmp/nodes | tr '\\n' ' ')\" = '{words} '",
        240,
    )


# No registry answers there, so that each device takes its own image of that name, and at once.
WEB = (
    "docker service create --detach --no-resolve-image --name web --replicas 3 --replicas-max-per-node 1 "
    "--publish 8080:8000 --hostname '{{.Node.Hostname}}' 127.0.0.1:1/box "
    "sh -c 'mkdir /www && hostname >/www/index.html && exec httpd -f -p 8000 -h /www'"
)


def answers(board: Device, names: set[str]) -> None:
    """Wait until a port of this device leads to containers on these devices."""
    asked = (
        "for turn in 1 2 3 4 5 6 7 8 9; do wget -q -T 5 -O - http://127.0.0.1:8080/ || exit; done >/tmp/web"
    )
    board.wait_until_succeeds(
        f"{asked}; test \"$(sort -u /tmp/web | tr '\\n' ' ')\" = '{' '.join(sorted(names))} '", 240
    )


@pytest.mark.skipif(
    os.environ.get("SKIFF_CLUSTER") != "1", reason="three emulated machines take minutes: SKIFF_CLUSTER=1"
)
@pytest.mark.timeout(3000)
def test_a_cluster_of_three(device: MakeDevice) -> None:
    network = lan()
    boards = [device(*IMAGE) for _ in range(3)]
    for number, board in enumerate(boards, 1):
        switch_on(board, number, network)
    for number, board in enumerate(boards, 1):
        settle(board, number)
    it_is_made(boards)
    apps_reach_each_other(boards)
    all_lose_power(boards)
    the_leader_is_lost(boards)
    a_new_board(boards[2], boards[0], network)
    images_come_from_one(boards)
    it_is_left(boards)


def it_is_made(boards: list[Device]) -> None:
    """By one device; the others come in by tokens that no log has, and vote then."""
    one, two, three = boards
    assert "2377" not in one.succeed("netstat -tln")
    crew(one, "cluster:init --interface eth1")
    carry(one, two)
    carry(one, three)
    wait_for(one, ["board1:Ready:Leader", "board2:Ready:", "board3:Ready:"])
    assert address(1) in one.succeed("netstat -tln | grep :2377")
    assert "-p udp -m udp --dport 4789 -j DROP" in one.succeed("iptables -S SKIFF-CLUSTER")
    for board in boards:
        assert board.execute("grep -r SWMTKN- /run/log /mnt/persist/skiff/crew").status == 1
        assert board.units()["cluster"].text == "in a cluster by eth1"
    assert "ask one" in crew(two, "cluster:promote board2", status=1).stderr
    crew(one, "cluster:promote board2 board3")
    crew(one, "cluster:label board3 site=museum")


def apps_reach_each_other(boards: list[Device]) -> None:
    """A service has a container on each device, and a port of any device leads to all of them."""
    for board in boards:
        board.succeed(f"{BOX}\ndocker tag box 127.0.0.1:1/box", timeout=240)
    boards[0].succeed(WEB)
    for board in boards[:2]:
        answers(board, {"board1", "board2", "board3"})


def all_lose_power(boards: list[Device]) -> None:
    """At once; they find each other again, and the service is back."""
    for board in boards:
        board.cut_power()
    for board in boards:
        board.start()
    for board in boards:
        board.wait_for_ssh(300)
    boards[0].wait_for_unit("cluster", "in a cluster by eth1", 300)
    answers(boards[1], {"board1", "board2", "board3"})
    found = seen_from(boards[1])
    assert {one["state"] for one in found["devices"].values()} == {"ready"}
    assert {one["role"] for one in found["devices"].values()} == {"manager"}


def the_leader_is_lost(boards: list[Device]) -> None:
    """The others choose another one; cut off from them it tells nothing; then it is one of them again."""
    leader = boards[int(seen_from(boards[0])["leader"][-1]) - 1]
    others = [board for board in boards if board is not leader]
    cut_off = "iptables -{0} INPUT -i eth1 -j DROP && iptables -{0} OUTPUT -o eth1 -j DROP"
    leader.succeed(cut_off.format("I"))
    leader.wait_until_succeeds("crew cluster:report | grep -q 'fewer than half'", 120)
    assert "fewer than half" in crew(leader, "cluster:label board1 a=b", status=1).stderr
    others[0].wait_until_succeeds("docker node ls | grep -q Leader", 120)
    crew(others[0], "cluster:label board1 seen=yes")
    leader.succeed(cut_off.format("D"))
    leader.wait_until_succeeds("crew cluster:report | grep -q seen=yes", 240)
    assert len({seen_from(board)["leader"] for board in boards}) == 1


def a_new_board(lost: Device, manager: Device, network: str) -> None:
    """It has the name of one that died, and nothing else of it: one command lets it in."""
    lost.cut_power()
    manager.wait_until_succeeds("crew cluster:report | grep -q 'board3 .* down'", 240)
    lost.persist.unlink()
    lost.start()
    settle(lost, 3)
    carry(manager, lost, "--replace board3")
    assert [
        (one["role"], one["labels"])
        for name, one in seen_from(manager)["devices"].items()
        if name.startswith("board3")
    ] == [("manager", {"site": "museum"})]
    assert seen_from(lost)["role"] == "manager"


def images_come_from_one(boards: list[Device]) -> None:
    """What one device pushes to the cluster's registry another one pulls, and nobody else can."""
    one, two, _ = boards
    crew(two, "cluster:registry")
    name = "127.0.0.1:7947/fresh"
    one.wait_until_succeeds("wget -q -T 5 -O - http://127.0.0.1:7947/v2/", 120)
    one.succeed(f"docker tag box {name} && docker push -q {name}", timeout=240)
    two.succeed(f"docker pull -q {name}", timeout=240)
    assert two.succeed("ls /mnt/persist/skiff/crew/registry/docker/registry/v2/repositories") == "fresh\n"
    one.fail(f"wget -q -T 5 -O - http://{address(2)}:7947/v2/")
    crew(two, "cluster:registry --off")


def it_is_left(boards: list[Device]) -> None:
    """By one after the other; then nothing of it is left."""
    for board in reversed(boards[1:]):
        crew(board, "cluster:leave")
        assert seen_from(board) == {"state": "in no cluster"}
    assert "last manager" in crew(boards[0], "cluster:leave", status=1).stderr
    crew(boards[0], "cluster:leave --force")
    for board in boards:
        board.wait_until_succeeds("! test -e /run/skiff/cluster")
        assert "DROP" not in board.succeed("iptables -S SKIFF-CLUSTER")
        assert "2377" not in board.succeed("netstat -tln")
        assert board.failed() == {}
