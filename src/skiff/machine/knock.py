"""Waiting for a machine's SSH server to greet, found out within a moment of its first chance to."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable

# Seconds between two connections at first.
_EVERY = 0.1
# Later they come less often and may take longer: in relation to the time waited so far. A start is
# noticed 2 % late at most, and a guest that needed long to start is given time to greet.
_PART = 0.02
# Seconds between two while the machine's network card is not seen to be in use. Not for ever: one that is
# part of a bridge looks the same.
_UNSEEN = 2.0
# Connections open at a time. A server counts those that have not logged in (dropbear: five from one
# address), and the log-in itself needs one.
_OPEN = 4


class Knocker:
    """Opens connections to a port again and again, several at a time, until one of them is greeted.

    QEMU takes a connection to a forwarded port at once, long before the guest can. What it sends then is
    lost, and sent again only seconds later: a new connection gets through sooner than an old one. But
    an old one is still listened to for a while, because the greeting itself may be slow. Those from
    before the guest took its network card into use mostly reach it then, all at once, and for each its SSH
    server starts a process amid the boot: ``is_up`` tells whether it is worth while.
    """

    def __init__(self, host: str, port: int, is_up: Callable[[], bool] = lambda: True) -> None:
        self._address = (host, port)
        self._is_up = is_up
        self._links: list[socket.socket] = []
        self._heard: dict[socket.socket, bytes] = {}
        self._started = time.monotonic()
        self._next = 0.0
        self._knocked = self._started

    def __enter__(self) -> Knocker:
        return self

    def __exit__(self, *_: object) -> None:
        self._hang_up()

    def greeted(self, timeout: float) -> bool:
        """Whether an SSH server greets within ``timeout`` seconds; go on asking as long as it does not."""
        end = time.monotonic() + timeout
        while (now := time.monotonic()) < end:
            if now >= self._next:
                if self._is_up() or now >= self._knocked + _UNSEEN:
                    self._knock()
                    self._knocked = now
                self._next = now + max(_EVERY, _PART * (now - self._started))
            wait = max(0.0, min(end, self._next) - now)
            if not self._links:
                time.sleep(wait)
                continue
            for link in select.select(self._links, [], [], wait)[0]:
                if self._listen(link):
                    self._hang_up()
                    return True
        return False

    def _knock(self) -> None:
        if len(self._links) == _OPEN:
            self._drop(self._links[0])
        # Refused: nobody forwards the port yet, or any more.
        with contextlib.suppress(OSError):
            self._links.append(socket.create_connection(self._address, _EVERY))

    def _listen(self, link: socket.socket) -> bool:
        try:
            part = link.recv(256)
        except OSError:
            part = b""
        heard = self._heard[link] = self._heard.get(link, b"") + part
        if b"SSH-" in heard:
            return True
        if not part or len(heard) > 8192:
            self._drop(link)
        return False

    def _hang_up(self) -> None:
        for link in tuple(self._links):
            self._drop(link)

    def _drop(self, link: socket.socket) -> None:
        self._links.remove(link)
        self._heard.pop(link, None)
        link.close()
