"""The time from the network: one question by SNTP as the image is, and chrony where that is in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.vm.driver import Device
from tests.vm.link import Link
from tests.vm.time_server import ADDRESS, TimeServer

MakeDevice = Callable[..., Device]

_DAYS = 100 * 86_400


@pytest.fixture
def link() -> Iterator[Link]:
    made = Link()
    yield made
    made.close()


@pytest.mark.parametrize("layers", [(), ("util/chrony",)], ids=["sntp", "chrony"])
def test_a_server_of_the_network_sets_the_clock(
    device: MakeDevice, link: Link, layers: tuple[str, ...]
) -> None:
    machine = device("virt/qemu", *layers)
    machine.start(extra=link.card)
    machine.wait_for_ssh()
    # What asked for an address there takes away those that others gave.
    machine.wait_for_unit("network eth1", "link-local")
    with TimeServer(machine, link, _DAYS):
        machine.succeed(f"echo 'server {ADDRESS} iburst' >/etc/skiff/time/a.sources; sv restart time")
        machine.wait_for_unit("clock", ", in step")
        assert abs(int(machine.succeed("date +%s")) - time.time() - _DAYS) < 30
        if not layers:
            # The clock with the battery too. Under chrony the kernel writes it, later.
            assert abs(int(machine.succeed("cat /sys/class/rtc/rtc0/since_epoch")) - time.time() - _DAYS) < 30
