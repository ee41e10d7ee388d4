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
from tests.vm.environments import enter

MakeDevice = Callable[..., Device]
IMAGE = ("virt/qemu", "apps/cluster")


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


def settle(board: Device, number: int, name: str) -> None:
    """Give it its name and address."""
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


@pytest.mark.skipif(
    os.environ.get("SKIFF_CLUSTER") != "1", reason="three emulated machines take minutes: SKIFF_CLUSTER=1"
)
@pytest.mark.timeout(1500)
def test_a_cluster_of_three(device: MakeDevice) -> None:
    network = lan()
    boards = [device(*IMAGE) for _ in range(3)]
    for number, board in enumerate(boards, 1):
        switch_on(board, number, network)
    for number, board in enumerate(boards, 1):
        settle(board, number, f"board{number}")
    one, two, three = boards
    # Nothing is listened on before there is a cluster.
    assert "2377" not in one.succeed("netstat -tln")
    crew(one, "cluster:init --interface eth1")
    for board in (two, three):
        carry(one, board)
    wait_for(one, ["board1:Ready:Leader", "board2:Ready:", "board3:Ready:"])
