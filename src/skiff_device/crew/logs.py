"""What the containers of an app write, each line with its time and the process it is of."""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from http.client import HTTPException
from typing import TYPE_CHECKING, NamedTuple

from skiff_device.common.errors import DeviceError
from skiff_device.crew import attach, oneoff
from skiff_device.crew import release as releases

if TYPE_CHECKING:
    from skiff_device.crew.engine import Engine
    from skiff_device.crew.paths import Paths

# How often a follower looks for new containers, and whether somebody still reads. In seconds.
_LOOK = 0.5
# A line without an end is cut there, in bytes.
_LONGEST = 64 << 10


class Source(NamedTuple):
    """A container, and what its lines are marked with: `web.1`, or `run.123456`."""

    container: str
    mark: str


class Line(NamedTuple):
    """One line. time is as the engine writes it, in UTC with nanoseconds, so that texts sort as times do."""

    time: str
    mark: str
    text: bytes


def sources(engine: Engine, paths: Paths, app: str, process: str) -> list[Source]:
    """Containers that serve, of one process (`web`, `web.1`) or all; `run` means one-off ones."""
    if process == oneoff.PROCESS or process.startswith(f"{oneoff.PROCESS}."):
        listed = [
            Source(str(one["Names"][0]).lstrip("/"), f"{oneoff.PROCESS}.{one['Labels'][oneoff.LABEL]}")
            for one in oneoff.listing(engine, app)
        ]
    else:
        now = releases.current(paths, app)
        running = now.containers if now is not None else ()
        listed = [Source(one.name, f"{one.process}.{one.index}") for one in running]
    return [one for one in listed if process in ("", one.mark, one.mark.partition(".")[0])]


def lines(
    engine: Engine, source: Source, follow: bool = False, tail: str = "all", since: str = ""
) -> Iterator[Line]:
    """Lines of one container, as they come."""
    return cut(source.mark, engine.logs(source.container, follow, tail, since, timestamps=True))


def cut(mark: str, pieces: Iterator[tuple[int, bytes]]) -> Iterator[Line]:
    """Lines of what comes in pieces, each with its time."""
    rest = b""
    for _, data in pieces:
        *whole, rest = (rest + data).split(b"\n")
        if len(rest) > _LONGEST:
            whole, rest = [*whole, rest], b""
        for text in whole:
            yield _line(mark, text)
    if rest:
        yield _line(mark, rest)


def _line(mark: str, data: bytes) -> Line:
    when, _, text = data.partition(b" ")
    return Line(when.decode(errors="replace"), mark, text)


def last(engine: Engine, wanted: list[Source], tail: str) -> Iterator[Line]:
    """What was written so far, of all containers in order of time."""
    return heapq.merge(*(_known(engine, one, tail) for one in wanted))


def _known(engine: Engine, source: Source, tail: str) -> Iterator[Line]:
    # One that is gone has nothing to say.
    with suppress(DeviceError):
        yield from lines(engine, source, tail=tail)


class Follower:
    """Follows all containers of an app over restarts and releases, until none runs or nobody reads."""

    def __init__(self, engine: Engine, wanted: Callable[[], list[Source]]) -> None:
        self._engine = engine
        self._wanted = wanted
        self._come: deque[Line] = deque()
        self._news = threading.Condition()
        self._busy: set[Source] = set()
        # Time of the last line of each container, for one that was started again.
        self._seen: dict[Source, str] = {}

    def run(self, tail: str, show: Callable[[Line], None]) -> None:
        """Show lines as they come. Raises BrokenPipeError when nobody reads any more."""
        begun = self._begin(tail)
        looked = time.monotonic()
        while True:
            with self._news:
                if not self._come:
                    self._news.wait(_LOOK)
                come = [self._come.popleft() for _ in range(len(self._come))]
            for line in come:
                show(line)
            if attach.reader_gone():
                raise BrokenPipeError
            if not begun and not come:
                return
            if time.monotonic() - looked >= _LOOK or not self._busy:
                begun, looked = self._begin("all"), time.monotonic()

    def _begin(self, tail: str) -> bool:
        """Follow what runs and is not followed yet; whether anything is followed."""
        for source in self._wanted():
            found = None if source in self._busy else self._engine.inspect(source.container)
            if found is not None and (found["State"].get("Running") or source not in self._seen):
                self._busy.add(source)
                since = self._seen.setdefault(source, "")
                threading.Thread(target=self._read, args=(source, tail, since), daemon=True).start()
        return bool(self._busy)

    def _read(self, source: Source, tail: str, since: str) -> None:
        try:
            # An engine that is restarted breaks its answer off.
            with suppress(DeviceError, OSError, HTTPException):
                for line in lines(self._engine, source, True, "all" if since else tail, unix(since)):
                    # The engine begins with the very moment that was seen last.
                    if line.time > since:
                        self._seen[source] = line.time
                        with self._news:
                            self._come.append(line)
                            self._news.notify()
        finally:
            with self._news:
                self._busy.discard(source)
                self._news.notify()


def unix(text: str) -> str:
    """A time of the engine's as it wants one back: seconds since 1970 and nanoseconds."""
    whole, _, parts = text.removesuffix("Z").partition(".")
    try:
        return f"{int(datetime.fromisoformat(f'{whole}+00:00').timestamp())}.{parts or 0:0<9}"
    except ValueError:
        return ""
