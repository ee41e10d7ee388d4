"""What BuildKit tells of a build: the records `moby.buildkit.trace` of the engine's answer, as lines of text.

Each is a message moby.buildkit.v1.StatusResponse in protobuf's wire format. The fields read here are
  StatusResponse: 1 vertexes, 3 logs;  Vertex: 1 digest, 3 name, 4 cached, 5 started, 6 completed, 7 error
  VertexLog: 1 vertex, 3 stream, 4 msg
(Field numbers: api/services/control/control.proto of BuildKit.)
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator

Say = Callable[[str], None]
# Steps of its own that say nothing to who pushes.
_QUIET = ("[internal]", "exporting", "writing image", "naming to", "preparing")


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field of a message. Raises ValueError when it is cut short."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        kind = key & 7
        value: int | bytes
        if kind == 0:
            value, place = _varint(data, place)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value, place = data[place : place + size], place + size
        elif kind == 2:
            size, place = _varint(data, place)
            value, place = data[place : place + size], place + size
        else:
            raise ValueError(f"wire type {kind}")
        if place > len(data):
            raise ValueError("cut short")
        yield key >> 3, value


def _varint(data: bytes, place: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        if place >= len(data) or shift > 63:
            raise ValueError("cut short")
        byte = data[place]
        place += 1
        result |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return result, place
        shift += 7


class Trace:
    """Progress of one build. errors are those of its steps, the cause first."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._shown: set[bytes] = set()
        self._pending: dict[bytes, bytes] = {}
        self.errors: list[str] = []

    def take(self, encoded: str) -> None:
        """One record; what cannot be understood is left out."""
        try:
            for number, value in fields(base64.b64decode(encoded)):
                if isinstance(value, bytes) and number == 1:
                    self._vertex(dict(fields(value)))
                elif isinstance(value, bytes) and number == 3:
                    self._log(dict(fields(value)))
        except ValueError:
            return

    def _vertex(self, vertex: dict[int, int | bytes]) -> None:
        digest, name = _bytes(vertex, 1), _bytes(vertex, 3).decode(errors="replace")
        if error := _bytes(vertex, 7).decode(errors="replace"):
            self.errors.append(f"{name}: {error}" if name not in error else error)
        started = 5 in vertex or vertex.get(4)
        if digest in self._shown or not started or name.startswith(_QUIET):
            return
        self._shown.add(digest)
        self._say(f"{name} (cached)" if vertex.get(4) else name)

    def _log(self, log: dict[int, int | bytes]) -> None:
        digest = _bytes(log, 1)
        data = self._pending.pop(digest, b"") + _bytes(log, 4)
        whole, newline, rest = data.rpartition(b"\n")
        if rest:
            self._pending[digest] = rest
        if newline:
            for line in whole.decode(errors="replace").split("\n"):
                # What a carriage return would overwrite on a terminal.
                self._say("  " + line.rstrip("\r").rpartition("\r")[2])

    def end(self) -> None:
        """Show what came without an end of line."""
        for rest in self._pending.values():
            self._say("  " + rest.decode(errors="replace"))
        self._pending.clear()


def _bytes(message: dict[int, int | bytes], number: int) -> bytes:
    value = message.get(number, b"")
    return value if isinstance(value, bytes) else b""
