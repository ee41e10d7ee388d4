"""Fixtures of the tool tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tool.device import Device


@pytest.fixture
def device(tmp_path: Path) -> Device:
    """A machine made of a folder."""
    return Device(tmp_path / "device")
