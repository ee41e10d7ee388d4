"""A limit in time for what waits on others: builds, scheduled jobs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from skiff_device.common.errors import DeviceError


@contextmanager
def within(seconds: float, late: DeviceError) -> Iterator[None]:
    """Raise ``late`` in this (main) thread when the block takes longer."""

    def end(number: int, frame: object) -> None:
        raise late

    old = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, max(0.1, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
