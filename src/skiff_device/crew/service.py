"""The services of this device that only apps need: crew tells their supervisor to start and stop them."""

from __future__ import annotations

from skiff_device.common import fifo
from skiff_device.common.errors import DeviceError
from skiff_device.crew.paths import Paths


def control(paths: Paths, name: str, commands: bytes) -> None:
    """Tell the supervisor of a service, as sv(8) does: u up, d down, h hang up, t end and start again.

    Raises DeviceError when there is none.
    """
    try:
        fifo.tell(paths.root / "etc/service" / name / "supervise/control", commands)
    except OSError as error:
        raise DeviceError(f"{name} cannot be reached: {error.strerror}", f"sv status {name}") from None
