"""Images compiled from source boot and do what those of packages do. Each takes a quarter of an hour or more.

BUILDROOT names a tree of Buildroot. Where the sources' own sites are out of reach, SKIFF_SOURCE_LAYER names a
layer that says where they are (`[buildroot.source]`), and BR2_DL_DIR their folder.
SKIFF_TEST_FROM_SOURCE=1 has the other tests of `virt/qemu` run on this image too.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from skiff.model.arch import Arch
from tests.vm.apps import Repository, page
from tests.vm.conftest import COMPILING
from tests.vm.containers import ASK, SERVE, make_image
from tests.vm.driver import Device
from tests.vm.environments import BOX, configure
from tests.vm.programs import imports_that_fail
from tests.vm.sources import words_for_source

MakeDevice = Callable[..., Device]

# Nobody promises speed under emulation.
PATIENT = 300

_APP = """FROM box
RUN --mount=type=cache,target=/cache echo pushed >/page
EXPOSE 8000
CMD mkdir -p /tmp/www; cat /page >/tmp/www/index.html; exec httpd -f -p $PORT -h /tmp/www
"""

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


def test_apps_and_environments_from_source(device: MakeDevice, tmp_path: Path) -> None:
    layers = ("engine/docker", "apps/core", "apps/crew", "ssh/openssh")
    machine = device(*words_for_source(*layers), shipped=True)
    machine.start(memory=1024)
    machine.wait_for_ssh(PATIENT)
    _is_compiled(machine)
    machine.wait_for_engine_to_answer(PATIENT)
    assert "openssh" in machine.units()["ssh"].text
    machine.succeed(BOX, timeout=PATIENT)
    configure(machine)
    machine.wait_for_unit("core", "running", PATIENT)
    assert machine.succeed("echo $COLOUR", user="core") == "blue\n"
    # Python has all that Skiff's programs ask for anywhere, as bytecode.
    assert imports_that_fail(machine) == ""
    assert machine.succeed("find /usr/lib -name __pycache__") == ""
    hello = Repository(tmp_path / "hello", Dockerfile=_APP)
    status, shown = hello.push(machine, "hello")
    assert status == 0, shown
    assert page(machine, "hello") == "pushed\n"
    machine.succeed("sync")
    machine.cut_power()
    machine.boot(PATIENT)
    machine.wait_for_unit("crew", "1 app runs", PATIENT)
    assert page(machine, "hello") == "pushed\n"
    assert machine.failed() == {}


def _is_compiled(machine: Device) -> None:
    """No package of Debian's is in it."""
    assert machine.succeed("uname -m").strip() == Arch.ARM64.machine
    machine.fail("test -e /usr/lib/aarch64-linux-gnu")
