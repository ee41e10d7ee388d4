"""The small image: its kernel, of what layers name and nothing else, does all that Debian's does here."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.vm.containers import IMAGE, make_image
from tests.vm.driver import Device
from tests.vm.programs import programs_that_fail

LAYERS = ("virt/qemu", "engine/podman", "util/slim")
# What the container serves, by its address on the engine's bridge.
ASK = """wget -qO- "http://$(docker inspect -f '{{.NetworkSettings.IPAddress}}' web)/" | grep small"""


@pytest.mark.skipif(
    os.environ.get("SKIFF_TEST_SLIM", "") in ("", "0"),
    reason="compiles a kernel, which takes minutes: SKIFF_TEST_SLIM=1 makes it",
)
def test_the_small_image_runs_containers(device: Callable[..., Device]) -> None:
    machine = device(*LAYERS)
    machine.start(memory=512)
    machine.wait_for_ssh()
    assert "deb" not in machine.succeed("uname -r")
    machine.succeed("skiff-selftest --network", timeout=300)
    machine.wait_for_engine()
    make_image(machine)
    # Namespaces, cgroups with limits, seccomp, a bridge with addresses.
    machine.succeed(
        f"docker run -d --name web --memory 64m --pids-limit 50 --restart=always {IMAGE} "
        "sh -c 'echo small >/index.html; exec busybox httpd -f -p 80 -h /'",
        timeout=120,
    )
    machine.wait_until_succeeds(ASK, 60)
    assert machine.succeed("docker exec web cat /sys/fs/cgroup/pids.max") == "50\n"
    machine.shut_down()
    machine.boot()
    machine.wait_until_succeeds(ASK, 120)
    assert machine.failed() == {}
    assert programs_that_fail(machine) == ""
