"""The same layers on every CPU, on QEMU's `virt` boards. amd64 is in all other tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from skiff.model.arch import Arch
from tests.vm.driver import Device

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


@pytest.mark.parametrize("arch", [Arch.ARMHF, Arch.RISCV64], ids=lambda arch: arch.value)
def test_ssh_and_persist(device: MakeDevice, arch: Arch) -> None:
    machine = device("virt/qemu", "--arch", arch.value)
    machine.boot(PATIENT)
    assert machine.succeed("uname -m").strip() == arch.machine
    machine.wait_for_persist(PATIENT)
    assert machine.failed() == {}


@pytest.mark.parametrize("arch", [Arch.ARMHF, Arch.RISCV64], ids=lambda arch: arch.value)
def test_u_boot_starts_it_from_a_disk(from_disk: MakeDevice, arch: Arch) -> None:
    machine = from_disk("virt/qemu", "--arch", arch.value)
    machine.boot(PATIENT)
    assert "skiff.slot=a" in machine.succeed("cat /proc/cmdline")
    machine.wait_for_persist(PATIENT)
    assert machine.failed() == {}
