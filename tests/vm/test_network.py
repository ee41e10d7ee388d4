"""Addresses by DHCP, from files, or link-local; interfaces that come later; the name on the local network."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.vm import disks
from tests.vm.driver import Device
from tests.vm.link import Link

MakeDevice = Callable[..., Device]

# QEMU's user network forwards to this address of the guest; its gateway and name server are .2 and .3.
STATIC = "ADDRESS=10.0.2.15/24\nGATEWAY=10.0.2.2\nDNS=10.0.2.3\n"


@pytest.fixture
def link() -> Iterator[Link]:
    made = Link()
    yield made
    made.close()


def test_a_static_address(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    disks.partitioned(machine.persist, "persist", {"skiff/network/eth0.conf": STATIC})
    machine.boot()
    assert "static" in machine.units()["network eth0"].text
    assert "default via 10.0.2.2" in machine.succeed("ip route")
    assert "nameserver 10.0.2.3" in machine.succeed("cat /etc/resolv.conf")
    machine.fail("pidof udhcpc")
    # Those who wait for an address know that there is one.
    machine.wait_for_unit("mdns", ".local")
    machine.wait_until_succeeds("grep -q 'time: rdate: pool.ntp.org' /run/log/messages")


def test_a_static_address_by_hardware_address(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    # The one that QEMU gives its first card.
    disks.partitioned(machine.persist, "persist", {"skiff/network/52-54-00-12-34-56.conf": STATIC})
    machine.boot()
    assert "static" in machine.units()["network eth0"].text


def test_a_file_that_is_not_understood_means_dhcp(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    disks.partitioned(machine.persist, "persist", {"skiff/network/eth0.conf": "ADDRESS=10.0.2/24\n"})
    machine.boot()
    unit = machine.units()["network eth0"]
    assert unit.state == "warn"
    assert "eth0.conf" in unit.text
    assert "10.0.2.15" in machine.succeed("ip addr show eth0")


def test_settings_written_while_it_runs_are_used(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    machine.boot()
    machine.wait_for_persist()
    machine.succeed(f"printf '{STATIC}' >/mnt/persist/skiff/network/eth0.conf".replace("\n", "\\n"))
    machine.wait_for_unit("network eth0", "static")


def test_link_local_where_nobody_answers_and_the_name_is_known(device: MakeDevice, link: Link) -> None:
    machine = device("virt/qemu")
    disks.partitioned(machine.persist, "persist", {"skiff/hostname": "roof-7\n"})
    machine.start(extra=("-netdev", f"{link.netdev},id=lone", "-device", "virtio-net-pci,netdev=lone"))
    # The other interface has an address, and nothing waits for this one.
    machine.wait_for_ssh()
    assert "link-local" in machine.wait_for_unit("network eth1", "link-local").text
    address = machine.succeed("ip -4 -o addr show eth1 | awk '{ print $4 }'").split("/")[0]
    assert address.startswith("169.254.")
    assert link.mdns_knows("roof-7", address, timeout=60)


def test_an_interface_that_comes_later(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    machine.start(extra=("-device", "pcie-root-port,id=spare,slot=1"))
    machine.wait_for_ssh()
    machine.wait_for_persist()
    machine.plug(port="spare", net="10.9.8.0/24")
    assert "10.9.8.15" in machine.wait_for_unit("network eth1", "10.9.8.15").text
    # Without its cable nothing is sent there.
    machine.succeed("ip route get 10.9.8.2 | grep -q 'dev eth1 '")
    machine.cable(plugged=False, card="card")
    machine.wait_until_succeeds("ip route get 10.9.8.2 | grep -q 'dev eth0 '")


def test_a_cable_that_is_plugged_in_later(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    machine.start()
    machine.cable(plugged=False)
    # What the console shows when all of boot is over.
    machine.wait_for_console("runs Skiff from RAM")
    machine.cable(plugged=True)
    machine.wait_for_ssh()
    machine.wait_until_succeeds("ip -6 addr show dev eth0 | grep -q ' fe80:'")
