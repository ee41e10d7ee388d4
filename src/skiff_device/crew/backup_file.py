"""The one file of a backup: a tar of small members; the first tells the format, the last has a checksum.

What may be large comes in pieces of a bounded size, because a tar must know sizes before. So neither the side
that writes nor the one that reads ever holds more than one piece.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, BinaryIO

from skiff_device.common.errors import DeviceError
from skiff_device.crew import names
from skiff_device.crew.archive import Head

FORMAT = "skiff-crew-backup"
VERSION = 1
# In bytes: the largest member.
PIECE = 4 << 20
_HEAD = "backup.json"
_END = "end.json"
_BLOCK = 1 << 16


class Writer:
    """Writes a backup to a stream."""

    def __init__(self, out: IO[bytes], about: dict[str, Any]) -> None:
        self._tar = tarfile.open(fileobj=out, mode="w|", format=tarfile.GNU_FORMAT, bufsize=_BLOCK)  # noqa: SIM115
        self._digest = hashlib.sha256()
        self.json(_HEAD, {"format": FORMAT, "version": VERSION, **about})

    def add(self, name: str, data: bytes) -> None:
        """A member; at most PIECE bytes."""
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(data), 0o600
        self._tar.addfile(info, io.BytesIO(data))
        _count(self._digest, name, data)

    def json(self, name: str, value: Any) -> None:
        """A member that a person can read."""
        self.add(name, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())

    @contextmanager
    def pieces(self, name: str) -> Iterator[Pieces]:
        """A file to write to; it becomes members `NAME/000001` and so on."""
        pieces = Pieces(self, name)
        yield pieces
        pieces.flush()

    def close(self) -> None:
        """The end, without which a backup counts as cut short."""
        self.json(_END, {"sha256": self._digest.hexdigest()})
        self._tar.close()


class Pieces(io.RawIOBase):
    """What is written to it goes out a piece at a time."""

    def __init__(self, writer: Writer, name: str) -> None:
        self._writer = writer
        self._name = name
        self._data = bytearray()
        self._number = 0

    def write(self, data: Any) -> int:
        """Take some bytes."""
        self._data += data
        while len(self._data) >= PIECE:
            self._out(bytes(self._data[:PIECE]))
            del self._data[:PIECE]
        return len(data)

    def flush(self) -> None:
        """Let out what is left."""
        if self._data:
            self._out(bytes(self._data))
            self._data.clear()

    def _out(self, data: bytes) -> None:
        self._number += 1
        self._writer.add(f"{self._name}/{self._number:06}", data)


class Reader:
    """Reads a backup from a stream, member by member. Every method raises DeviceError for a damaged one."""

    def __init__(self, stream: BinaryIO) -> None:
        self._digest = hashlib.sha256()
        self._expected = ""
        try:
            self._tar = tarfile.open(fileobj=stream, mode="r|", tarinfo=Head, bufsize=_BLOCK)  # noqa: SIM115
        except (tarfile.TarError, OSError, EOFError) as error:
            raise _damaged(str(error)) from None
        self._members = self._read()
        self._next = next(self._members, None)
        self.about = self.json(_HEAD)
        if self.about.get("format") != FORMAT:
            raise DeviceError("this is no backup of crew", "a file that backup:export wrote")
        if self.about.get("version") != VERSION:
            version = names.shown(str(self.about.get("version")))
            raise DeviceError(f"this backup is of version {version}, not {VERSION}", "use a newer system")

    def _read(self) -> Iterator[tuple[str, bytes]]:
        try:
            for info in self._tar:
                # tarfile would remember all of them.
                self._tar.members = []  # type: ignore[attr-defined]
                if not info.isreg() or info.issparse() or info.size > PIECE:
                    raise _damaged(f"{names.shown(info.name)} does not belong there")
                file = self._tar.extractfile(info)
                data = file.read() if file is not None else b""
                if len(data) != info.size:
                    raise _damaged("it is cut short")
                if info.name == _END:
                    self._expected = _object(data).get("sha256", "")
                    return
                _count(self._digest, info.name, data)
                yield info.name, data
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            raise _damaged(" ".join(str(error).split())[:200]) from None

    def peek(self) -> str:
        """Name of the next member; empty at the end."""
        return self._next[0] if self._next is not None else ""

    def take(self, name: str) -> bytes:
        """The next member, which must be of that name."""
        if self._next is None or self._next[0] != name:
            raise _damaged(f"{name} is not where it should be")
        data = self._next[1]
        self._next = next(self._members, None)
        return data

    def json(self, name: str) -> dict[str, Any]:
        """The next member as an object."""
        return _object(self.take(name))

    def pieces(self, name: str) -> Iterator[bytes]:
        """All pieces of a large file, in order; none when it is not there."""
        number = 1
        while self.peek() == (wanted := f"{name}/{number:06}"):
            yield self.take(wanted)
            number += 1

    def verify(self) -> None:
        """Nothing is left, and it is what was written."""
        if self._next is not None:
            raise _damaged(f"{names.shown(self._next[0])} does not belong there")
        if not self._expected or self._expected != self._digest.hexdigest():
            raise _damaged("its checksum is wrong" if self._expected else "its end is missing")


def _count(digest: Any, name: str, data: bytes) -> None:
    digest.update(f"{name}\0{len(data)}\0".encode(errors="surrogateescape"))
    digest.update(data)


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _damaged(str(error)) from None
    if not isinstance(found, dict):
        raise _damaged("expected an object")
    return found


def _damaged(reason: str) -> DeviceError:
    return DeviceError(f"the backup is damaged: {reason}", "nothing was changed; take another one")
