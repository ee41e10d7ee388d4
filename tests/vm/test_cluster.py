"""Devices on one network of their own: a cluster is made, loses power, gets a new board, and is left.

Several emulated machines on two cores take minutes: without SKIFF_CLUSTER=1 it is skipped.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.vm.apps import Repository, crew
from tests.vm.driver import Device
from tests.vm.environments import BOX, enter

MakeDevice = Callable[..., Device]
IMAGE = ("virt/qemu", "apps/registry")


# Each container tells the release and its own name.
SHOP = """FROM box
RUN mkdir /www
CMD ["sh", "-c", "echo VERSION $(hostname) >/www/index.html && exec httpd -f -p $PORT -h /www"]
"""
# The page tells the release, the CPU that it was built on, and the one that it runs on.
NATIVE = """FROM box
RUN mkdir /w && uname -m >/w/built
CMD ["sh", "-c", "echo VERSION $(cat /w/built) $(uname -m) >/w/index.html && exec httpd -f -p $PORT -h /w"]
"""
# The page tells a secret, and the configuration that it came with.
PROBE = """FROM box
RUN mkdir /w
CMD ["sh", "-c", "cat /run/secrets/word /etc/probe >/w/index.html && exec httpd -f -p $PORT -h /w"]
"""
REPLICAS = 6
# Seconds after which something counts as never to come: three engines start on two cores.
PATIENT = 900


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
    board.start(memory=768, extra=("-netdev", network, "-device", card))


def settle(board: Device, number: int) -> None:
    """Give it its name and address."""
    name = f"board{number}"
    board.wait_for_ssh(PATIENT)
    board.wait_for_persist()
    board.succeed(
        f"cd /mnt/persist/skiff && echo {name} >hostname && mkdir -p network && "
        f"echo ADDRESS={address(number)}/24 >network/eth1.conf && sync"
    )
    board.wait_until_succeeds(f"ip -4 addr show dev eth1 | grep -q {address(number)}/24")
    board.wait_until_succeeds(f"test $(hostname) = {name}")
    board.wait_for_unit("crew", "no apps", PATIENT)


def on_one_network(boards: list[Device]) -> str:
    """Switch all on, and give each its name and address; the network, for a board that comes later."""
    network = lan()
    for number, board in enumerate(boards, 1):
        switch_on(board, number, network)
    for number, board in enumerate(boards, 1):
        settle(board, number)
    return network


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
        PATIENT,
    )


def answers(board: Device, version: str, without: str = "none") -> None:
    """Wait until all containers of the app answer on this device's port, none of them on a lost device."""
    board.wait_until_succeeds(
        "docker service ps --filter desired-state=running --format '{{.CurrentState}} {{.Node}}' shop_web "
        f">/tmp/tasks && test $(grep ^Running /tmp/tasks | grep -vc {without}) = {REPLICAS}",
        PATIENT,
    )
    port = board.succeed("docker service inspect -f '{{(index .Endpoint.Ports 0).PublishedPort}}' shop_web")
    led_to(board, port.strip(), version)


def led_to(board: Device, port: str, version: str) -> None:
    """Wait until a port of this device leads to all containers of a release, and to nothing else."""
    asked = f"for turn in $(seq {2 * REPLICAS}); do wget -q -T 5 -O - http://127.0.0.1:{port}/ || exit; done"
    seen = "sort -u /tmp/web | cut -d ' ' -f 1 | uniq -c | xargs"
    board.wait_until_succeeds(f"{asked} >/tmp/web; test \"$({seen})\" = '{REPLICAS} {version}'", PATIENT)


def by_name(board: Device, version: str) -> None:
    """Wait until the router of a manager answers for the app's name."""
    board.wait_until_succeeds(f"{ASK} | grep -q '^{version} '", PATIENT)


ASK = "wget -q -T 20 -O - --header 'Host: shop.board2.local' http://127.0.0.1/"


SLOW = pytest.mark.skipif(
    os.environ.get("SKIFF_CLUSTER") != "1", reason="several emulated machines take minutes: SKIFF_CLUSTER=1"
)


@SLOW
@pytest.mark.timeout(3000)
def test_a_cluster_of_three(device: MakeDevice, tmp_path: Path) -> None:
    boards = [device(*IMAGE) for _ in range(3)]
    network = on_one_network(boards)
    it_is_made(boards)
    images_come_from_one(boards)
    app = Repository(tmp_path / "shop")
    an_app_is_pushed(boards, app)
    it_is_replaced_without_a_gap(boards, app)
    a_worker_is_lost(boards)
    the_leader_is_lost(boards)
    one_is_cut_off(boards)
    all_lose_power(boards)
    what_is_broken_goes_back(boards, app)
    a_new_board(boards[2], boards[0], network)
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
    crew(one, "cluster:promote board2")
    crew(one, "cluster:label board3 site=museum")


def an_app_is_pushed(boards: list[Device], app: Repository) -> None:
    """To one device; it runs on all, behind managers' routers, and a port of each leads to all containers."""
    _, two, _ = boards
    crew(two, "apps:create shop")
    crew(two, "apps:set --cluster shop")
    crew(two, f"ps:scale shop web={REPLICAS}")
    push(app, two, "one")
    by_name(two, "one")
    # Another manager, to which nobody has pushed.
    by_name(boards[0], "one")
    answers(two, "one")
    assert all(f"board{number}" in crew(two, "ps:report shop").stdout for number in (1, 2, 3))
    port = two.succeed(
        "docker service inspect -f '{{(index .Endpoint.Ports 0).PublishedPort}}' shop_web"
    ).strip()
    for board in boards:
        led_to(board, port, "one")
    boards[0].fail(f"wget -q -T 5 -O - http://{address(2)}:{port}/")


def push(app: Repository, board: Device, version: str, dockerfile: str = SHOP) -> None:
    """A release that must come up."""
    app.commit(Dockerfile=dockerfile.replace("VERSION", version))
    status, shown = app.start_push(board, "shop").end(timeout=900)
    assert status == 0, shown


def it_is_replaced_without_a_gap(boards: list[Device], app: Repository) -> None:
    """Somebody asks all the time, while one container after the other gives way to the next release's."""
    _, two, _ = boards
    asking = f"while test -e /tmp/asking; do {ASK} >>/tmp/got || echo lost >>/tmp/got; done"
    two.succeed(f"touch /tmp/asking && (sh -c {shlex.quote(asking)} >/dev/null 2>&1 </dev/null &)")
    push(app, two, "two")
    two.succeed("rm /tmp/asking")
    answers(two, "two")
    got = two.succeed("cut -d ' ' -f 1 /tmp/got | sort | uniq -c").split()
    assert got[1::2] == ["one", "two"], got


def a_worker_is_lost(boards: list[Device]) -> None:
    """What ran there runs on the others; it comes back, and is a manager from now on."""
    one, two, three = boards
    three.cut_power()
    answers(two, "two", without="board3")
    by_name(two, "two")
    three.start()
    three.wait_for_ssh(PATIENT)
    wait_for(one, ["board1:Ready:Leader", "board2:Ready:Reachable", "board3:Ready:"])
    crew(one, "cluster:promote board3")


def the_leader_is_lost(boards: list[Device]) -> None:
    """The others choose another one, and the app runs on them."""
    leader = leader_of(boards)
    lost = f"board{boards.index(leader) + 1}"
    leader.cut_power()
    other = next(board for board in boards if board is not leader)
    other.wait_until_succeeds(f"docker node ls | grep {lost} | grep -q Unreachable", PATIENT)
    other.wait_until_succeeds("docker node ls | grep -q Leader", PATIENT)
    answers(other, "two", without=lost)
    leader.start()
    leader.wait_for_ssh(PATIENT)
    other.wait_until_succeeds(
        "test $(docker node ls | grep -c 'Ready .*\\(Leader\\|Reachable\\)') = 3", PATIENT
    )


def leader_of(boards: list[Device]) -> Device:
    """Of all managers."""
    return boards[int(seen_from(boards[1])["leader"][-1]) - 1]


def one_is_cut_off(boards: list[Device]) -> None:
    """The leader, from the others: it tells nothing, and changes nothing; then it is one of them again."""
    leader = leader_of(boards)
    others = [board for board in boards if board is not leader]
    cut_off = "iptables -{0} INPUT -i eth1 -j DROP && iptables -{0} OUTPUT -o eth1 -j DROP"
    leader.succeed(cut_off.format("I"))
    leader.wait_until_succeeds("crew cluster:report | grep -q 'fewer than half'", PATIENT)
    assert "fewer than half" in crew(leader, "cluster:label board1 a=b", status=1).stderr
    others[0].wait_until_succeeds("docker node ls | grep -q Leader", PATIENT)
    crew(others[0], "cluster:label board1 seen=yes")
    leader.succeed(cut_off.format("D"))
    leader.wait_until_succeeds("crew cluster:report | grep -q seen=yes", PATIENT)
    assert len({seen_from(board)["leader"] for board in boards}) == 1


def all_lose_power(boards: list[Device]) -> None:
    """At once; they find each other again, and the app is back with its settings."""
    _, two, _ = boards
    for board in boards:
        board.cut_power()
    for board in boards:
        board.start()
    for board in boards:
        board.wait_for_ssh(PATIENT)
    two.wait_for_unit("cluster", "in a cluster by eth1", PATIENT)
    # Three engines start at once: under emulation some take more than one try.
    two.wait_until_succeeds("docker node ls | grep -q Leader", PATIENT)
    answers(two, "two")
    by_name(two, "two")
    found = seen_from(two)
    assert {one["state"] for one in found["devices"].values()} == {"ready"}
    assert {one["role"] for one in found["devices"].values()} == {"manager"}


def what_is_broken_goes_back(boards: list[Device], app: Repository) -> None:
    """By itself; who pushed is told, and what served before serves. Then the app ends, and all of it."""
    _, two, _ = boards
    app.commit(Dockerfile='FROM box\nCMD ["false"]\n')
    status, shown = app.start_push(two, "shop").end(timeout=900)
    assert status != 0 and "web.1 ended with status 1" in shown, shown
    # What is not tried before is taken back by Swarm.
    crew(two, "checks:skip shop web")
    status, shown = app.start_push(two, "shop").end(timeout=900)
    assert status != 0 and "the old one is back" in shown, shown
    by_name(two, "two")
    answers(two, "two")
    crew(two, "apps:destroy --force shop")
    assert two.succeed("docker service ls -q --filter name=shop") == ""
    crew(two, "cluster:registry --off")


def a_new_board(lost: Device, manager: Device, network: str) -> None:
    """It has the name of one that died, and nothing else of it: one command lets it in."""
    lost.cut_power()
    manager.wait_until_succeeds("crew cluster:report | grep -q 'board3 .* down'", PATIENT)
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
    for board in (one, two):
        board.succeed(BOX, timeout=240)
    crew(two, "cluster:registry")
    name = "127.0.0.1:7947/fresh"
    one.wait_until_succeeds("wget -q -T 5 -O - http://127.0.0.1:7947/v2/", PATIENT)
    one.succeed(f"docker tag box {name} && docker push -q {name}", timeout=240)
    two.succeed(f"docker pull -q {name}", timeout=240)
    assert two.succeed("ls /mnt/persist/skiff/crew/registry/docker/registry/v2/repositories") == "fresh\n"
    one.fail(f"wget -q -T 5 -O - http://{address(2)}:7947/v2/")


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


@SLOW
@pytest.mark.timeout(2400)
def test_an_app_runs_where_it_is_told_with_its_secrets(device: MakeDevice, tmp_path: Path) -> None:
    boards = [device(*IMAGE) for _ in range(2)]
    on_one_network(boards)
    one, two = boards
    one.succeed(BOX, timeout=240)
    crew(one, "cluster:init --interface eth1")
    carry(one, two)
    crew(one, "cluster:label board2 site=museum")
    crew(one, "cluster:registry")
    crew(one, "apps:create probe")
    crew(one, "apps:set --cluster probe")
    crew(one, "secrets:set probe word", stdin=b"cherry ")
    crew(one, "configs:set --path /etc/probe probe settings", stdin=b"blue\n")
    app = Repository(tmp_path / "probe")
    app.commit(Dockerfile=PROBE)
    status, shown = app.push(one, "probe")
    assert status == 0, shown
    tells(one, "cherry blue")
    # One on each device, and on the other one alone.
    crew(one, "apps:set --global web probe")
    is_on(one, "board1 board2")
    tells(one, "cherry blue")
    crew(one, "apps:set --place node.labels.site==museum probe")
    is_on(one, "board2")
    tells(one, "cherry blue")
    secrets_are_replaced(boards)
    crew(one, "apps:destroy --force probe")
    assert one.succeed("docker secret ls -q; docker config ls -q") == ""


def secrets_are_replaced(boards: list[Device]) -> None:
    """A new one comes by a rolling update, the old one by a rollback; neither is on a disk as it is."""
    one, _ = boards
    crew(one, "secrets:set probe word", stdin=b"apricot ")
    tells(one, "apricot blue")
    crew(one, "configs:set --path /etc/probe probe settings", stdin=b"green\n")
    tells(one, "apricot green")
    assert "apricot" not in crew(one, "secrets:report --json probe").stdout
    for board in boards:
        assert board.execute("grep -r apricot /mnt/persist/skiff/crew /run/log").status == 1
    # Releases: the push, where it runs (twice), the secret, the configuration.
    assert "another image" in crew(one, "rollback probe", status=1).stderr
    crew(one, "rollback probe 4")
    tells(one, "apricot blue")
    crew(one, "rollback probe 3")
    tells(one, "cherry blue")


def tells(board: Device, page: str) -> None:
    """Wait until the router of a device leads to this page of probe, and to no other."""
    ask = "wget -q -T 20 -O - --header 'Host: probe.board1.local' http://127.0.0.1/"
    asked = f"for turn in $(seq 6); do {ask} || exit; done >/tmp/web"
    board.wait_until_succeeds(f"{asked}; test \"$(sort -u /tmp/web)\" = '{page}'", PATIENT)


def is_on(board: Device, nodes: str) -> None:
    """Wait until probe has a running container on each of these devices, and no other."""
    ask = "docker service ps --filter desired-state=running --format '{{.CurrentState}} {{.Node}}' probe_web"
    seen = "sed -n 's/^Running .* //p' /tmp/tasks | sort | xargs"
    board.wait_until_succeeds(
        f"{ask} >/tmp/tasks; test \"$({seen})\" = '{nodes}' && ! grep -v ^Running /tmp/tasks", PATIENT
    )


@SLOW
@pytest.mark.timeout(2400)
def test_each_cpu_builds_for_itself(device: MakeDevice, tmp_path: Path) -> None:
    boards = [device(*IMAGE), device("virt/qemu", "apps/cluster", "--arch", "arm64")]
    on_one_network(boards)
    for board in boards:
        board.succeed(BOX, timeout=PATIENT)
    one, two = boards
    crew(one, "cluster:init --interface eth1")
    carry(one, two)
    crew(one, "cluster:registry")
    crew(one, "apps:create shop")
    crew(one, "apps:set --cluster shop")
    crew(one, "ps:scale shop web=4")
    app = Repository(tmp_path / "shop")
    push(app, one, "one", NATIVE)
    runs_on(one, "one", "aarch64", "x86_64")
    assert one.succeed("docker service ls -q --filter name=crew-build") == ""
    one_cpu_fails(one, app)
    a_push_is_broken_off(one, two, app)
    the_registry_is_lost(one, app)


def runs_on(board: Device, version: str, *machines: str) -> None:
    """Wait until containers of a release answer that were built where they run, on these CPUs."""
    port = board.succeed("docker service inspect -f '{{(index .Endpoint.Ports 0).PublishedPort}}' shop_web")
    asked = f"for turn in $(seq 8); do wget -q -T 9 -O - http://127.0.0.1:{port.strip()}/ || exit; done"
    wanted = " ".join(f"{version} {machine} {machine}" for machine in machines)
    board.wait_until_succeeds(
        f"{asked} >/tmp/web; test \"$(sort -u /tmp/web | xargs)\" = '{wanted}'", PATIENT
    )


def one_cpu_fails(board: Device, app: Repository) -> None:
    """Where that is to be an error, the release before serves on all."""
    crew(board, "builder:set shop other-cpus must")
    app.commit(Dockerfile=NATIVE + "RUN test $(uname -m) = x86_64\n")
    status, shown = app.start_push(board, "shop").end(timeout=900)
    assert status != 0 and "would not run on board2 (aarch64: board2: the build failed" in shown, shown
    runs_on(board, "one", "aarch64", "x86_64")
    crew(board, "builder:set shop other-cpus")


def a_push_is_broken_off(board: Device, other: Device, app: Repository) -> None:
    """It ends on the other device too."""
    crew(board, "builder:set shop pids 1234")
    goes_on = "ps | grep -v grep | grep -q 'sleep 601'"
    app.commit(Dockerfile="FROM box\nRUN test $(uname -m) = x86_64 || sleep 601\n")
    pushed = app.start_push(board, "shop")
    other.wait_until_succeeds(goes_on, PATIENT)
    assert other.succeed("cat /sys/fs/cgroup/docker/buildkit/pids.max").strip() == "1234"
    pushed.break_off()
    other.wait_until_succeeds(f"! {goes_on}", PATIENT)
    board.wait_until_succeeds('test -z "$(docker service ls -q --filter name=crew-build)"', PATIENT)


def the_registry_is_lost(board: Device, app: Repository) -> None:
    """With all that it had: the other CPU is left out until the next push."""
    crew(board, "cluster:registry --off")
    board.succeed("rm -r /mnt/persist/skiff/crew/registry")
    crew(board, "cluster:registry")
    assert "ps:rebuild shop" in crew(board, "ps:restart shop").stderr
    runs_on(board, "one", "x86_64")
    assert "shop is not on:  board2" in crew(board, "cluster:report").stdout
    push(app, board, "two", NATIVE)
    runs_on(board, "two", "aarch64", "x86_64")
