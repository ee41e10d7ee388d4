"""Fixtures of the tool tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tool.crew_device import CrewDevice, remove_folder, short_folder
from tests.tool.crew_pusher import Pusher
from tests.tool.device import Device
from tests.tool.device_slots import Slots


@pytest.fixture
def device(tmp_path: Path) -> Device:
    """A machine made of a folder."""
    return Device(tmp_path / "device")


@pytest.fixture(params=["uefi", "uboot"])
def slots(request: pytest.FixtureRequest, device: Device) -> Slots:
    """A machine that was started from slot a, once with either bootloader."""
    return Slots(device, request.param)


@pytest.fixture
def crew(monkeypatch: pytest.MonkeyPatch) -> Iterator[CrewDevice]:
    """A device with crew, made of a folder."""
    root = short_folder()
    made = CrewDevice(root, monkeypatch)
    yield made
    made.close()
    remove_folder(root)


@pytest.fixture
def pusher(crew: CrewDevice, tmp_path: Path) -> Pusher:
    """Who pushes to that device."""
    return Pusher(crew, tmp_path)
