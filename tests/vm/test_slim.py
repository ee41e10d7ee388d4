"""The small image: its kernel, of what layers name and nothing else, does all that Debian's does here."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.vm.containers import ASK, SERVE, make_image
from tests.vm.driver import Device
from tests.vm.programs import programs_that_fail

SLIM = ("engine/podman", "util/slim")
# A board's image, and what it needs besides to run here; its kernel is the board's.
BOARD = ("engine/podman", "core/debian", "net/wifi-realtek", "util/slim")
ON_QEMU = ("test/board", "--layers-dir", str(Path(__file__).parent / "layers"))
IMAGES = {
    "amd64": ("virt/qemu", *SLIM),
    "arm64": ("virt/qemu", *SLIM, "--arch", "arm64"),
    "armhf": ("virt/qemu", *SLIM, "--arch", "armhf"),
    "odroid-xu": ("odroid/xu", *BOARD, *ON_QEMU, "--arch", "armhf"),
    # One kernel for all of them.
    "odroid-c2": ("odroid/c2", *BOARD, *ON_QEMU, "--arch", "arm64"),
    "odroid-c4": ("odroid/c4", *BOARD, *ON_QEMU, "--arch", "arm64"),
    "odroid-hc4": ("odroid/hc4", *BOARD, *ON_QEMU, "--arch", "arm64"),
    "odroid-n2": ("odroid/n2", *BOARD, *ON_QEMU, "--arch", "arm64"),
    "odroid-n2l": ("odroid/n2l", *BOARD, *ON_QEMU, "--arch", "arm64"),
}
# Names of these, or 1 for the first.
WANTED = os.environ.get("SKIFF_TEST_SLIM", "").replace("1", "amd64").split(",")
# Emulation of another CPU beside other work.
PATIENT = 300
# The disk to make persist on. A board's is the card that it started from, and this machine starts from none.
PERSIST = ("skiff.persist=/dev/vda",)


@pytest.mark.parametrize("name", IMAGES)
def test_the_small_image_runs_containers(device: Callable[..., Device], name: str) -> None:
    if name not in WANTED:
        pytest.skip(f"compiles a kernel, which takes minutes: SKIFF_TEST_SLIM={name} makes it")
    machine = device(*IMAGES[name], shipped=True)
    machine.start(memory=512, append=PERSIST)
    machine.wait_for_ssh(PATIENT)
    assert machine.succeed("uname -r").strip().endswith("-skiff")
    machine.succeed("skiff-selftest --network", timeout=300)
    machine.wait_for_engine(PATIENT)
    make_image(machine)
    # Namespaces, cgroups with limits, seccomp, a bridge with addresses.
    machine.succeed(SERVE, timeout=PATIENT)
    machine.wait_until_succeeds(ASK, PATIENT)
    assert machine.succeed("docker exec web cat /sys/fs/cgroup/pids.max") == "50\n"
    machine.shut_down()
    machine.boot(PATIENT)
    machine.wait_until_succeeds(ASK, PATIENT)
    assert machine.failed() == {}
    assert programs_that_fail(machine) == ""
