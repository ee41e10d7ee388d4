"""Joins this process's standard streams with those of a program in a container, byte by byte.

The engine turns such a request into a plain stream both ways (HTTP's Upgrade). With a terminal that stream is
raw; without, what comes holds stdout and stderr in frames, as logs do.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from skiff_device.common.errors import DeviceError
from skiff_device.crew.engine_api import VERSION, Refused
from skiff_device.crew.http_unix import Connection

if TYPE_CHECKING:
    from skiff_device.crew.paths import Paths

# Height and width, in characters.
Resize = Callable[[int, int], None]
_CHUNK = 1 << 16
# TIOCGWINSZ, as all CPUs of Skiff's have it.
_SIZE = 0x5413
_HEAD_LIMIT = 1 << 16


def has_terminal() -> bool:
    """Whether the client asked for a terminal (`ssh -t`)."""
    return os.isatty(0) and os.isatty(1)


def reader_gone() -> bool:
    """Whether nobody reads standard output any more: a connection that was lost."""
    poll = select.poll()
    poll.register(1, 0)
    return any(event & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _, event in poll.poll(0))


@contextmanager
def to_container(paths: Paths, name: str) -> Iterator[socket.socket]:
    """The streams of a container's first process; attach before it is started, and nothing is missed."""
    query = urlencode({"stream": 1, "stdin": 1, "stdout": 1, "stderr": 1})
    with _upgraded(paths, f"/containers/{quote(name)}/attach?{query}", None) as stream:
        yield stream


@contextmanager
def to_exec(paths: Paths, made: str, tty: bool) -> Iterator[socket.socket]:
    """The streams of a program that `exec` made; it begins now."""
    with _upgraded(paths, f"/exec/{made}/start", {"Detach": False, "Tty": tty}) as stream:
        yield stream


@contextmanager
def _upgraded(paths: Paths, path: str, body: Any) -> Iterator[socket.socket]:
    connection = Connection(paths.engine_socket)
    connection.connect()
    stream = connection.sock
    data = b"" if body is None else json.dumps(body).encode()
    head = (
        f"POST {VERSION}{path} HTTP/1.1\r\nHost: engine\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    try:
        stream.sendall(head.encode() + data)
        _accepted(stream)
        yield stream
    finally:
        connection.close()


def _accepted(stream: socket.socket) -> None:
    """Read the head of the answer, and not one byte more. Raises Refused."""
    head = b""
    while not head.endswith(b"\r\n\r\n") and (byte := stream.recv(1)) and len(head) < _HEAD_LIMIT:
        head += byte
    fields = head.split(None, 2)
    status = int(fields[1]) if len(fields) > 1 and fields[1].isdigit() else 500
    if status not in (101, 200):
        stream.settimeout(2)
        said = b""
        with suppress(OSError):
            said = stream.recv(_CHUNK)
        text = said[said.find(b"{") : said.rfind(b"}") + 1]
        with suppress(ValueError):
            raise Refused(status, str(json.loads(text).get("message", "")))
        raise Refused(status, said.decode(errors="replace"))


def join(stream: socket.socket, tty: bool, resize: Resize) -> None:
    """Copy both ways until the container's side ends. Raises BrokenPipeError when nobody reads any more.

    resize(height, width) is called for the size of the terminal now and whenever it changes.
    """
    with _raw_terminal() if tty else _plain(), _size_changes() as changed:
        if tty:
            _tell_size(resize)
        _copy(stream, tty, resize, changed)


def _copy(stream: socket.socket, tty: bool, resize: Resize, changed: int) -> None:
    # The engine's side never blocks: a program that writes before it reads must not hang both.
    stream.setblocking(False)
    show = _Show(tty)
    pending, reading = b"", True
    while True:
        poll = select.poll()
        poll.register(1, 0)
        poll.register(changed, select.POLLIN)
        poll.register(stream, select.POLLIN | (select.POLLOUT if pending else 0))
        if reading and not pending:
            poll.register(0, select.POLLIN)
        events = dict(poll.poll())
        if events.get(1, 0) & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
            raise BrokenPipeError
        if changed in events:
            os.read(changed, _CHUNK)
            if tty:
                _tell_size(resize)
        if 0 in events:
            pending = os.read(0, _CHUNK)
            reading = bool(pending)
        if pending:
            with suppress(BlockingIOError):
                try:
                    pending = pending[stream.send(pending) :]
                except (BrokenPipeError, ConnectionResetError):
                    pending, reading = b"", False
        if 0 in events and not reading:
            with suppress(OSError):
                stream.shutdown(socket.SHUT_WR)
        if events.get(stream.fileno(), 0) & ~select.POLLOUT and not _receive(stream, show):
            return


def _receive(stream: socket.socket, show: _Show) -> bool:
    """Hand on what came; False at the end."""
    try:
        data = stream.recv(_CHUNK)
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False
    show(data)
    return bool(data)


class _Show:
    """Writes what came from a container to standard output and standard error."""

    def __init__(self, tty: bool) -> None:
        self._tty = tty
        self._rest = b""

    def __call__(self, data: bytes) -> None:
        if self._tty:
            _write(1, data)
            return
        self._rest += data
        while len(self._rest) >= 8:
            number, length = struct.unpack(">BxxxL", self._rest[:8])
            if len(self._rest) < 8 + length:
                return
            _write(2 if number == 2 else 1, self._rest[8 : 8 + length])
            self._rest = self._rest[8 + length :]


def _write(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


@contextmanager
def _raw_terminal() -> Iterator[None]:
    """Every key goes to the container: its terminal echoes, and makes signals of them."""
    import termios
    import tty

    before = termios.tcgetattr(0)
    # What was typed ahead is kept.
    tty.setraw(0, termios.TCSADRAIN)
    try:
        yield
    finally:
        with suppress(termios.error):
            termios.tcsetattr(0, termios.TCSADRAIN, before)


@contextmanager
def _plain() -> Iterator[None]:
    yield


@contextmanager
def _size_changes() -> Iterator[int]:
    """A file that can be read whenever the terminal's size has changed."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    old = signal.signal(signal.SIGWINCH, lambda number, frame: os.write(write, b"x"))
    try:
        yield read
    finally:
        signal.signal(signal.SIGWINCH, old)
        os.close(read)
        os.close(write)


def _tell_size(resize: Resize) -> None:
    rows, columns = struct.unpack("HHHH", fcntl.ioctl(1, _SIZE, b"\0" * 8))[:2]
    # One that has ended in between is no error.
    with suppress(DeviceError):
        resize(rows or 24, columns or 80)
