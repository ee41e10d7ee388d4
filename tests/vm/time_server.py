"""A device's neighbour who tells the time when asked by NTP."""

from __future__ import annotations

import socket
import struct
import time
from typing import Self

from tests.vm.driver import Device
from tests.vm.link import Link, Neighbour, arp_answer, packet

ADDRESS = "10.67.0.1"
_DEVICE = "10.67.0.2"
_PORT = struct.pack(">H", 123)
# NTP counts from 1900 (RFC 5905).
_SINCE_1900 = 2_208_988_800


class TimeServer(Neighbour):
    """While it is entered it answers; its clock is so many seconds ahead of this machine's."""

    def __init__(self, machine: Device, link: Link, ahead: int) -> None:
        super().__init__(link)
        self._machine = machine
        self._ahead = ahead

    def __enter__(self) -> Self:
        self._machine.succeed(f"ip address add {_DEVICE}/24 dev eth1")
        return super().__enter__()

    def _hear(self, frame: bytes) -> None:
        if answer := arp_answer(frame, ADDRESS) or self._told(frame):
            self._link.send(answer)

    def _told(self, frame: bytes) -> bytes:
        """The answer to a question for the time, empty to all else."""
        if frame[12:14] != b"\x08\x00" or frame[23] != socket.IPPROTO_UDP:
            return b""
        udp = frame[14 + (frame[14] & 15) * 4 :]
        if frame[30:34] != socket.inet_aton(ADDRESS) or udp[2:4] != _PORT:
            return b""
        now = self._now()
        # Version 4, a server, next to a clock of its own; what the client sent last comes back as it was.
        told = struct.pack(">4B2I4s", 0x24, 1, 6, 0xEC, 0, 0, b"GPS") + now + udp[48:56] + now + now
        head = _PORT + udp[:2] + struct.pack(">2H", 8 + len(told), 0)
        return frame[6:12] + packet(socket.IPPROTO_UDP, ADDRESS, _DEVICE, head + told)

    def _now(self) -> bytes:
        seconds = time.time() + self._ahead + _SINCE_1900
        return struct.pack(">2I", int(seconds), int(seconds % 1 * (1 << 32)))
