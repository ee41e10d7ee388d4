"""The device's name on the local network: at which interfaces it is answered to, and by which processes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.tool.device import ROOTFS, Device

_SCRIPT = (ROOTFS.parent / "services" / "mdns" / "run").read_text()
# Stands for mdnsd, which chpst starts: its interface is the argument after -i.
_CHPST = """#!/bin/sh
while [ "$1" != -i ]; do shift; done
trap 'rm "$SKIFF_ROOT/answers/$2"; exit' TERM
echo $$ >"$SKIFF_ROOT/answers.$2" && mv "$SKIFF_ROOT/answers.$2" "$SKIFF_ROOT/answers/$2"
while :; do sleep 0.1; done
"""
# Interfaces with an IPv4 address.
_LIBRARY = """. "$SKIFF_ROOT/usr/lib/skiff/lib.sh"
PATH=$SKIFF_ROOT/bin:$PATH
ip() {
	case $* in
	"-4 -o addr show dev eth0" | "-4 -o addr show dev eth1") echo "2: some inet 192.0.2.7/24" ;;
	esac
}
"""


@pytest.fixture
def device(tmp_path: Path) -> Device:
    made = Device(tmp_path)
    made.put("run/skiff/net/ready", "")
    made.put("bin/chpst", _CHPST).chmod(0o755)
    (made.root / "answers").mkdir()
    return made


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def answers(device: Device) -> set[str]:
    return {path.name for path in (device.root / "answers").iterdir()}


@contextmanager
def service(device: Device, *interfaces: str) -> Iterator[subprocess.Popen[bytes]]:
    for name in interfaces:
        device.put(f"run/skiff/net/{name}.mode", "dhcp\n")
    assert _SCRIPT.count(". /usr/lib/skiff/lib.sh\n") == 1
    script = _SCRIPT.replace(". /usr/lib/skiff/lib.sh\n", _LIBRARY)
    environment = {**os.environ, "SKIFF_ROOT": str(device.root)}
    words = [device.busybox, "sh", "-c", script]
    with subprocess.Popen(words, env=environment, start_new_session=True) as process:
        try:
            yield process
            process.terminate()
            process.wait(20)
            until(lambda: not answers(device))
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_the_service_is_the_program_where_there_is_one_interface(device: Device) -> None:
    with service(device, "eth0", "wlan0") as process:
        until(lambda: answers(device) == {"eth0"})
        assert int(device.read("answers/eth0")) == process.pid
    assert device.status("mdns")[:2] == ["ok", "skiff.local"]


def test_several_interfaces_are_answered_at_and_end_together(device: Device) -> None:
    with service(device, "eth0", "eth1"):
        until(lambda: answers(device) == {"eth0", "eth1"})


@pytest.mark.parametrize("name", ["eth0", "eth1"])
def test_when_one_ends_the_service_does_to_be_started_anew(device: Device, name: str) -> None:
    with service(device, "eth0", "eth1") as process:
        until(lambda: answers(device) == {"eth0", "eth1"})
        os.kill(int(device.read(f"answers/{name}")), signal.SIGTERM)
        process.wait(20)
        until(lambda: not answers(device))


def test_without_an_ipv4_address_nothing_answers(device: Device) -> None:
    with service(device, "wlan0"):
        until(lambda: (device.root / "run/skiff/status/mdns").exists())
        assert device.status("mdns")[0] == "wait"
        assert not answers(device)
