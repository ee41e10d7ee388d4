"""Strangers who come to a device's SSH and then say nothing, each from an own address: frames on a Link."""

from __future__ import annotations

import socket
import struct
import threading
from types import TracebackType
from typing import Self

from tests.vm.driver import Device
from tests.vm.link import Link, Neighbour, arp_answer, checksum, packet

# They are behind a router, so that the device has one neighbour and not thousands.
_DEVICE, _ROUTER, _NETWORK = "10.65.0.1", "10.65.0.2", "10.66.0.0/16"
# Flags of TCP (RFC 9293).
_SYN, _ACK = 0x02, 0x10
# So many at once: QEMU's socket holds some 200 frames.
_BURST = 16


class Strangers(Neighbour):
    """While it is entered they all have come, and keep what connections they got."""

    def __init__(self, machine: Device, link: Link, count: int) -> None:
        super().__init__(link)
        self._machine = machine
        self._waiting = [f"10.66.{1 + n // 250}.{1 + n % 250}" for n in range(count)]
        self._came = threading.Event()
        self._mac = b""
        # Those whose connection was taken.
        self.connected: set[str] = set()

    def __enter__(self) -> Self:
        setup = f"ip address add {_DEVICE}/24 dev eth1; ip route add {_NETWORK} via {_ROUTER} dev eth1"
        mac = self._machine.succeed(f"{{ {setup}; }} >&2; cat /sys/class/net/eth1/address")
        self._mac = bytes.fromhex(mac.strip().replace(":", ""))
        super().__enter__()
        self._came.wait(120)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._machine.execute(f"ip route del {_NETWORK}; ip address del {_DEVICE}/24 dev eth1")

    def _speak(self) -> None:
        for address in self._waiting[:_BURST]:
            self._send(address, 1, 0, _SYN)
        del self._waiting[:_BURST]
        if not self._waiting:
            self._came.set()

    def _hear(self, frame: bytes) -> None:
        if answer := arp_answer(frame, _ROUTER):
            self._link.send(answer)
        elif frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_TCP:
            segment = frame[14 + (frame[14] & 15) * 4 :]
            if segment[13] == _SYN | _ACK:
                address = socket.inet_ntoa(frame[30:34])
                self._send(address, 2, struct.unpack(">I", segment[4:8])[0] + 1, _ACK)
                self.connected.add(address)

    def _send(self, address: str, sequence: int, acknowledged: int, flags: int) -> None:
        ends = socket.inet_aton(address) + socket.inet_aton(_DEVICE)
        tcp = struct.pack(
            ">2H2I2B3H", 40000, 22, sequence, acknowledged % (1 << 32), 5 << 4, flags, 8192, 0, 0
        )
        pseudo = ends + struct.pack(">2H", socket.IPPROTO_TCP, len(tcp))
        tcp = tcp[:16] + struct.pack(">H", checksum(pseudo + tcp)) + tcp[18:]
        self._link.send(self._mac + packet(socket.IPPROTO_TCP, address, _DEVICE, tcp))
