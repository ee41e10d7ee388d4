"""Containers run, come back after a power cut with their data, and outlive the engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.vm.containers import IMAGE, make_image, running
from tests.vm.driver import Device
from torture.course import Course
from torture.floods import CASES, flood
from torture.verdict import verdict

MakeDevice = Callable[..., Device]

# A service with data in a volume: it notes each of its starts. While runc starts it, what runc takes counts:
# its own program once more, of 10 MB, and some more. With a limit of 16 MiB it was killed now and then.
SERVICE = (
    "docker run -d --name keeper --network none --memory 32m --memory-swap 32m --restart=always "
    f"-v keeper:/data {IMAGE} "
    "sh -c 'echo started >>/data/starts; sync; exec sleep 100000'"
)


# Docker also with as little memory as it is meant for.
@pytest.mark.parametrize(("engine", "memory"), [("docker", 384), ("podman", 512)])
def test_a_container_survives_a_power_cut_with_its_data(device: MakeDevice, engine: str, memory: int) -> None:
    machine = device("virt/qemu", f"engine/{engine}", shipped=True)
    machine.start(memory=memory)
    machine.wait_for_ssh()
    machine.succeed("skiff-selftest --network", timeout=300)
    make_image(machine)
    machine.succeed(SERVICE, timeout=120)
    machine.wait_until_succeeds("docker exec keeper cat /data/starts", 60)
    # No more than that memory, and none of the swap.
    limits = "docker exec keeper cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory.swap.max"
    assert machine.succeed(limits).split() == [str(32 << 20), "0"]
    machine.succeed("docker exec keeper sh -c 'echo precious >/data/note; sync'")
    machine.cut_power()
    machine.boot()
    running(machine, "keeper")
    assert machine.succeed("docker exec keeper cat /data/note") == "precious\n"
    assert machine.succeed("docker exec keeper cat /data/starts") == "started\n" * 2
    assert machine.failed() == {}
    # The engine's data is on persist, and nothing else is mounted from disk.
    machine.succeed(f"test -d /mnt/persist/skiff/{engine}")


def test_newcomers_log_in_during_floods(device: MakeDevice) -> None:
    machine = device("virt/qemu", "engine/docker")
    course = Course("floods", CASES, 1, print)
    flood(machine, course)
    assert verdict([course.attack]) == "verdict: all 6 attacks stood"


def test_an_engine_that_dies_is_set_wrong_and_is_damaged(device: MakeDevice) -> None:
    machine = device("virt/qemu", "engine/docker")
    machine.boot()
    machine.wait_for_engine_to_answer()
    make_image(machine)
    _its_programs_die(machine)
    _its_disk_goes_and_comes_back(machine)
    _a_setting_is_not_valid(machine)
    _its_databases_are_garbage(machine)
    _its_networks_do_not_hear_the_name(machine)
    _its_networks_are_closed_to_neighbours(machine)


def _its_programs_die(machine: Device) -> None:
    """They come back, and containers live on."""
    machine.succeed(SERVICE, timeout=120)
    machine.wait_until_succeeds("docker exec keeper cat /data/starts", 60)
    for program in ("dockerd", "containerd"):
        old = machine.succeed(f"pidof {program}").strip()
        machine.succeed(f"kill -9 {old}")
        alive = f"pidof {program} && ! kill -0 {old} && docker exec keeper cat /data/starts"
        machine.wait_until_succeeds(alive, 180)
    assert machine.succeed("docker exec keeper cat /data/starts") == "started\n"
    assert machine.failed() == {}
    machine.succeed("docker rm -f keeper", timeout=120)


def _its_disk_goes_and_comes_back(machine: Device) -> None:
    """What wrote to the disk that is gone ends, and all is there again on the one that came back."""
    machine.succeed(SERVICE, timeout=120)
    started = "docker exec keeper cat /data/starts | grep -c started"
    before = int(machine.wait_until_succeeds(started, 60))
    old = machine.succeed("pidof dockerd").strip()
    disk = machine.succeed("cd -P /sys/block/vda/device && echo ${PWD##*/}").strip()
    driver = "/sys/bus/virtio/drivers/virtio_blk"
    machine.succeed(f"sync; echo {disk} >{driver}/unbind")
    machine.wait_for_unit("persist", "is gone")
    machine.succeed(f"echo {disk} >{driver}/bind")
    machine.wait_until_succeeds(f"pidof dockerd && ! kill -0 {old}", 180)
    running(machine, "keeper")
    machine.wait_until_succeeds(f"test $({started}) = {before + 1}", 60)
    # Its databases can be written to.
    machine.succeed("docker volume create later && docker volume rm later", timeout=120)
    assert machine.failed() == {}
    machine.succeed("docker rm -f keeper", timeout=120)


def _a_setting_is_not_valid(machine: Device) -> None:
    """It is told, and the engine runs without; one that names only a part is taken."""
    machine.succeed(
        """echo '{ "log-opts": { "max-size": "20m" } }' >/mnt/persist/skiff/docker.json; """
        "sv -w 60 restart docker",
        timeout=90,
    )
    machine.wait_until_succeeds("test \"$(docker info -f '{{.LoggingDriver}}')\" = local", 180)
    assert machine.failed() == {}
    machine.succeed("echo '{ \"no-such-setting\": 1 }' >/mnt/persist/skiff/docker.json; sync")
    machine.cut_power()
    machine.boot()
    unit = machine.wait_for_unit("engine", "docker.json is not valid", 180)
    assert unit.state == "warn"
    machine.wait_for_engine()


def _its_databases_are_garbage(machine: Device) -> None:
    """They are set aside by the device itself; images and containers are there as before."""
    machine.succeed("rm /mnt/persist/skiff/docker.json")
    machine.succeed(SERVICE, timeout=120)
    machine.succeed(
        "sv -w 60 stop docker; cd /mnt/persist/skiff/docker; "
        "find . -name '*.db' -type f | while read -r file; do"
        ' dd if=/dev/urandom of="$file" bs=4096 count=8 conv=notrunc 2>/dev/null; done; sync'
    )
    machine.cut_power()
    machine.boot()
    machine.wait_for_unit("engine", "damaged databases are set aside", 180)
    running(machine, "keeper")
    machine.wait_for_engine()


def _its_networks_do_not_hear_the_name(machine: Device) -> None:
    """Multicast DNS, 224.0.0.251 as /proc writes it, is for the device's own interfaces alone."""
    assert "docker0" in machine.succeed("ip -o -4 addr")
    words = 'awk \'$3 == ":" { name = $2 } $1 == "FB0000E0" { print name }\' /proc/net/igmp'
    assert machine.succeed(words).split() == ["eth0"]


def _its_networks_are_closed_to_neighbours(machine: Device) -> None:
    """Who routes to a container's address by this device gets nowhere: Docker lets through what it opened."""
    assert machine.succeed("sysctl -n net.ipv4.ip_forward") == "1\n"
    assert machine.succeed("iptables -S FORWARD").splitlines()[0] == "-P FORWARD DROP"
