"""What the containers of an app on the cluster write, wherever they are: managers gather it."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote

from skiff_device.common.errors import DeviceError
from skiff_device.crew import logs
from skiff_device.crew.engine_api import TIMEOUT, frames
from skiff_device.crew.logs import Line
from skiff_device.crew.release import Release
from skiff_device.crew.service_spec import name_of

if TYPE_CHECKING:
    from skiff_device.crew.engine import Engine


def lines(
    engine: Engine, app: str, release: Release, process: str, follow: bool, tail: str
) -> Iterator[Line]:
    """Lines of one process or of all, in order of time. Raises DeviceError."""
    wanted = [one for one in release.services if process in ("", one)]
    if not wanted:
        raise DeviceError(f"{app} has no such process", f"there are: {', '.join(release.services)}")
    if follow and len(wanted) > 1:
        raise DeviceError("on a cluster one process can be followed", f"logs -t -p {wanted[0]} {app}")
    return heapq.merge(*(_of(engine, app, one, follow, tail) for one in wanted))


def _of(engine: Engine, app: str, process: str, follow: bool, tail: str) -> Iterator[Line]:
    query = {"stdout": 1, "stderr": 1, "timestamps": 1, "follow": int(follow), "tail": tail}
    path = f"/services/{quote(name_of(app, process))}/logs"
    with engine.open("GET", path, query, timeout=None if follow else TIMEOUT) as answer:
        yield from logs.cut(process, frames(answer))
