"""What containers may take of a machine, and that SSH and the guard are kept when memory runs out."""

from __future__ import annotations

import pytest

from tests.tool.device import Device

LIMIT = '. "$LIB/limits.sh"\nlimit_containers docker builds'


def machine(device: Device, total: int, available: int) -> None:
    device.put("proc/meminfo", f"MemTotal: {total} kB\nMemFree: 1 kB\nMemAvailable: {available} kB\n")
    (device.root / "sys/fs/cgroup").mkdir(parents=True, exist_ok=True)


def limits(device: Device, group: str) -> list[str]:
    names = ("memory.max", "memory.swap.max", "pids.max")
    return [device.read(f"sys/fs/cgroup/{group}/{name}").strip() for name in names]


@pytest.mark.parametrize(
    ("total", "available", "words", "expected"),
    [
        # An eighth is left to the system, 32 MB at least and 256 MB at most.
        (346_544, 223_000, "quiet", ["179992K", "115514K", "676"]),
        (200_000, 120_000, "quiet", ["87232K", "66666K", "390"]),
        (16_000_000, 15_000_000, "quiet", ["14737856K", "5333333K", "16384"]),
        # Or what was asked for.
        (346_544, 223_000, "quiet skiff.reserve=100", ["120600K", "115514K", "676"]),
        # However little there is, containers are to be tried.
        (120_000, 40_000, "quiet", ["30000K", "40000K", "256"]),
    ],
)
def test_containers_leave_a_reserve(
    device: Device, total: int, available: int, words: str, expected: list[str]
) -> None:
    machine(device, total, available)
    device.cmdline(words)
    device.says(LIMIT)
    assert limits(device, "docker") == limits(device, "builds") == expected


def test_what_they_may_take_is_told(device: Device) -> None:
    machine(device, 346_544, 223_000)
    device.says(LIMIT)
    text = "containers: 175 of 338 MiB and 676 processes at most"
    assert device.status("limits")[:2] == ["ok", text]


def test_an_engine_that_starts_again_changes_no_limit(device: Device) -> None:
    machine(device, 346_544, 223_000)
    device.says(LIMIT)
    before = limits(device, "docker")
    # Its containers run on, and have taken theirs.
    machine(device, 346_544, 50_000)
    device.says(LIMIT)
    assert limits(device, "docker") == before


def test_a_kernel_without_limits_is_told_of(device: Device) -> None:
    machine(device, 346_544, 223_000)
    # Nothing can be made there.
    (device.root / "sys/fs/cgroup").rmdir()
    device.put("sys/fs/cgroup", "")
    device.says(LIMIT)
    assert device.status("limits")[0] == "warn"
