"""The small image: its kernel, of what layers name and nothing else, does all that Debian's does here."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.vm.containers import IMAGE, make_image
from tests.vm.driver import Device

LAYERS = ("virt/qemu", "engine/podman", "util/slim")


@pytest.mark.skipif(
    os.environ.get("SKIFF_TEST_SLIM", "") in ("", "0"),
    reason="compiles a kernel, which takes minutes: SKIFF_TEST_SLIM=1 makes it",
)
def test_the_small_image_runs_containers(device: Callable[..., Device]) -> None:
    machine = device(*LAYERS)
    machine.start(memory=512)
    machine.wait_for_ssh()
    assert machine.succeed("uname -r").strip().endswith("-skiff")
    machine.succeed("skiff-selftest --network", timeout=300)
    machine.wait_for_engine()
    make_image(machine)
    # Namespaces, cgroups with limits, seccomp, a bridge with addresses, a port that leads in.
    machine.succeed(
        f"docker run -d --name web -p 8080:80 --memory 64m --pids-limit 50 --restart=always {IMAGE} "
        "sh -c 'echo small >/index.html; exec busybox httpd -f -p 80 -h /'",
        timeout=120,
    )
    machine.wait_until_succeeds("wget -qO- http://127.0.0.1:8080/ | grep small", 60)
    assert machine.succeed("docker exec web cat /sys/fs/cgroup/pids.max") == "50\n"
    machine.shut_down()
    machine.boot()
    machine.wait_until_succeeds("wget -qO- http://127.0.0.1:8080/ | grep small", 120)
    assert machine.failed() == {}
