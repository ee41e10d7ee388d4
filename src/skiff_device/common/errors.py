"""What can go wrong, in words for the user: one line, and a hint where a remedy is known."""

from __future__ import annotations

import errno


class DeviceError(Exception):
    """Something that the user, the network or the disk must put right."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class EngineDown(DeviceError):
    """The container engine does not answer."""


def of_disk(error: OSError, room: str) -> DeviceError:
    """What to tell of a disk that is full or fails. Raises any other error: that is a bug."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DeviceError("the disk is full", f"make room: {room}")
    if error.errno == errno.EROFS:
        return DeviceError("persist can only be read", "root sees why: skiff-status persist")
    if error.errno == errno.EIO:
        return DeviceError("the disk cannot be read or written", "root sees why: dmesg, skiff-status persist")
    raise error
