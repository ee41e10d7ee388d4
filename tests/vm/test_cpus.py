"""The same layers on every CPU, on QEMU's `virt` boards. amd64 is in all other tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from skiff.model.arch import Arch
from tests.vm.driver import Device
from tests.vm.port_world import EMULATED, World, world
from tests.vm.programs import programs_that_fail

MakeDevice = Callable[..., Device]

# Nobody promises speed under emulation.
PATIENT = 300


def test_arm64_runs_containers(device: MakeDevice) -> None:
    machine = device("virt/qemu", "engine/docker", "--arch", "arm64")
    machine.boot(PATIENT)
    assert machine.succeed("uname -m").strip() == Arch.ARM64.machine
    machine.wait_for_engine(PATIENT)
    machine.succeed("skiff-selftest --network", timeout=PATIENT)
    assert machine.failed() == {}
    with world() as net:
        net.add_tiny()
        _run_what_was_ported_here(machine, net)
        _build_on(machine, net)


def _run_what_was_ported_here(machine: Device, net: World) -> None:
    folder = net.folder_of(
        "board", {"Dockerfile": 'FROM tiny:1\nRUN uname -r >/kernel\nCMD ["uname", "-m"]\n'}
    )
    archive = net.folder / "board.tar"
    net.port(f"{folder}/", "--arch", "arm64", "--tag", "board:1", "--output", str(archive), EMULATED)
    machine.copy_to(archive, "/mnt/persist/board.tar")
    machine.succeed("docker load --input /mnt/persist/board.tar", timeout=PATIENT)
    shown = machine.succeed("docker run --rm --network none board:1", timeout=PATIENT)
    assert shown.strip() == Arch.ARM64.machine


def _build_on(machine: Device, net: World) -> None:
    """The device builds for its own CPU, without emulation of programs."""
    folder = net.folder_of("native", {"Dockerfile": "FROM tiny:1\nRUN uname -r >/kernel\n"})
    target = f"root@127.0.0.1:{machine.ssh_port}"
    (key,) = machine.target().keys
    settings = (
        f"IdentityFile={key}",
        "IdentitiesOnly=yes",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
    )
    words = ["--on", target, *(word for setting in settings for word in ("--ssh-option", setting))]
    answer = net.ported(f"{folder}/", "--arch", "arm64", "--tag", "native:1", "--load", *words)
    assert {node["where"] for node in answer["nodes"]} == {f"docker on {target}"}
    kernel = net.docker("run", "--rm", "--network", "none", "native:1", "cat", "/kernel")
    assert kernel == machine.succeed("uname -r")


@pytest.mark.parametrize("arch", [Arch.ARMHF, Arch.RISCV64], ids=lambda arch: arch.value)
def test_ssh_and_persist(device: MakeDevice, arch: Arch) -> None:
    machine = device("virt/qemu", "--arch", arch.value, shipped=True)
    machine.boot(PATIENT)
    assert machine.succeed("uname -m").strip() == arch.machine
    machine.wait_for_persist(PATIENT)
    assert machine.failed() == {}
    assert programs_that_fail(machine) == ""


@pytest.mark.parametrize("arch", [Arch.ARMHF, Arch.RISCV64], ids=lambda arch: arch.value)
def test_u_boot_starts_it_from_a_disk(from_disk: MakeDevice, arch: Arch) -> None:
    machine = from_disk("virt/qemu", "--arch", arch.value, shipped=True)
    machine.boot(PATIENT)
    assert "skiff.slot=a" in machine.succeed("cat /proc/cmdline")
    machine.wait_for_persist(PATIENT)
    assert machine.failed() == {}
