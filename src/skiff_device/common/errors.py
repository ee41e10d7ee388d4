"""What can go wrong, in words for the user: one line, and a hint where a remedy is known."""

from __future__ import annotations


class DeviceError(Exception):
    """Something that the user, the network or the disk must put right."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class EngineDown(DeviceError):
    """The container engine does not answer."""
