"""What changes on persist while the device runs is taken over, however soon after the last look."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.tool.device import Device

LOOK = '. "$LIB/live.sh"\nlive_take() { echo taken; live_look; LAST_SEEN=$NOW_SEEN; }\n'


@pytest.fixture
def device(tmp_path: Path) -> Device:
    made = Device(tmp_path / "machine")
    made.put("mnt/persist/skiff/network/eth0.conf", "ADDRESS=10.0.0.1/24\n")
    return made


def looks(device: Device, between: str) -> list[str]:
    """Look twice and do something between; what was taken over each time."""
    done = device.sh(f"{LOOK}live_changes\necho then\n{between}\nlive_changes")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.split("then\n")
    assert first == "taken\n"
    return second.split()


def test_nothing_changed(device: Device) -> None:
    assert looks(device, "true") == []


def test_a_change_within_the_second_of_the_last_look(device: Device) -> None:
    path = device.root / "mnt/persist/skiff/network/eth0.conf"
    then = path.stat().st_mtime
    os.utime(path, (then, then))
    same_second = f"echo ADDRESS=10.0.0.2/24 >{path}; touch -d @{int(then)} {path}"
    assert looks(device, same_second) == ["taken"]


def test_a_change_after_the_clock_was_put_back(device: Device) -> None:
    path = device.root / "mnt/persist/skiff/network/eth0.conf"
    assert looks(device, f"echo ADDRESS=10.0.0.3/24 >{path}; touch -d 2001-01-01 {path}") == ["taken"]


def test_a_file_that_comes_and_one_that_goes(device: Device) -> None:
    folder = device.root / "mnt/persist/skiff/keys"
    assert looks(device, f"mkdir {folder}; echo x >{folder}/a.pub") == ["taken"]
    assert looks(device, f"rm {folder}/a.pub") == ["taken"]
