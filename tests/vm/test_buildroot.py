"""Images compiled from source boot and do what those of packages do. Each takes a quarter of an hour or more.

BUILDROOT names a tree of Buildroot. Where the sources' own sites are out of reach, SKIFF_SOURCE_LAYER names a
layer that says where they are (`[buildroot.source]`), and BR2_DL_DIR their folder.
SKIFF_TEST_FROM_SOURCE=1 has the other tests of `virt/qemu` run on this image too.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from skiff.model.arch import Arch
from tests.vm.conftest import COMPILING
from tests.vm.containers import ASK, SERVE, make_image
from tests.vm.driver import Device
from tests.vm.sources import words_for_source

MakeDevice = Callable[..., Device]

# Nobody promises speed under emulation.
PATIENT = 300

pytestmark = [
    pytest.mark.timeout(COMPILING + 1200),
    pytest.mark.skipif(not os.environ.get("BUILDROOT"), reason="BUILDROOT names no tree of Buildroot"),
]


def test_an_image_from_source_boots_and_keeps_its_promises(device: MakeDevice) -> None:
    machine = device(*words_for_source(), shipped=True)
    machine.boot(PATIENT)
    _is_compiled(machine)
    machine.wait_for_persist(PATIENT)
    assert machine.failed() == {}
    machine.succeed("echo kept >/mnt/persist/note; sync")
    machine.cut_power()
    machine.boot(PATIENT)
    machine.wait_for_persist(PATIENT)
    assert machine.succeed("cat /mnt/persist/note").strip() == "kept"


def test_docker_from_source_runs_containers(device: MakeDevice) -> None:
    machine = device(*words_for_source("engine/docker"), shipped=True)
    machine.boot(PATIENT)
    _is_compiled(machine)
    machine.wait_for_engine(PATIENT)
    # Docker goes on without, when the kernel has not all for it.
    machine.fail("grep 'cannot set up ip6tables' /run/log/messages")
    make_image(machine)
    # Namespaces, limits, a bridge with addresses; and again after the power was gone.
    machine.succeed(SERVE, timeout=PATIENT)
    machine.wait_until_succeeds(ASK, PATIENT)
    assert machine.succeed("docker exec web cat /sys/fs/cgroup/pids.max") == "50\n"
    # Of the image that was made just now nothing else is sure to be on the disk.
    machine.succeed("sync")
    machine.cut_power()
    machine.boot(PATIENT)
    machine.wait_for_engine(PATIENT)
    machine.wait_until_succeeds(ASK, PATIENT)
    assert machine.failed() == {}


def _is_compiled(machine: Device) -> None:
    """No package of Debian's is in it."""
    assert machine.succeed("uname -m").strip() == Arch.ARM64.machine
    machine.fail("test -e /usr/lib/aarch64-linux-gnu")
