"""The other end of a network cable: Ethernet frames over UDP, so that a test can be a device's neighbour."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

MAC = bytes.fromhex("525400aabbcc")
ADDRESS = "169.254.99.1"

# Multicast DNS: group and port, and the MAC that the group maps to (RFC 6762, RFC 1112).
_MDNS = ("224.0.0.251", 5353)
_MDNS_MAC = bytes.fromhex("01005e0000fb")


class Link:
    """A cable between QEMU and this test (QEMU's `-netdev dgram`)."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        # Bound and let go: a port that nothing else has just now.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            self.guest_port: int = probe.getsockname()[1]

    @property
    def netdev(self) -> str:
        """For QEMU's `-netdev`, without the id."""
        return f"socket,udp=127.0.0.1:{self.port},localaddr=127.0.0.1:{self.guest_port}"

    @property
    def card(self) -> tuple[str, ...]:
        """Words for QEMU: a further network card at this cable."""
        return ("-netdev", f"{self.netdev},id=link", "-device", "virtio-net-pci,netdev=link")

    def close(self) -> None:
        """Pull the cable."""
        self._socket.close()

    def send(self, frame: bytes) -> None:
        """One Ethernet frame to the device."""
        self._socket.sendto(frame, ("127.0.0.1", self.guest_port))

    def frames(self, deadline: float) -> Iterator[bytes]:
        """The frames that the device sends, until a moment of the monotonic clock."""
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                yield self._socket.recv(65536)
            except TimeoutError:
                return

    def mdns_knows(self, name: str, address: str, timeout: float) -> bool:
        """Ask the link for the address of NAME.local, again and again, until an answer holds this one."""
        # An address record: type A, class IN with the cache-flush bit, four bytes (RFC 1035, RFC 6762).
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            self.send(_mdns_question(name))
            for frame in self.frames(min(end, time.monotonic() + 1)):
                message = _mdns_answer(frame)
                if b"\x00\x01\x80\x01" in message and b"\x00\x04" + socket.inet_aton(address) in message:
                    return True
        return False


class Neighbour:
    """Somebody at this end of a cable, who is there as long as it is entered."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._stay, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(10)

    def _stay(self) -> None:
        while not self._over.is_set():
            self._speak()
            for frame in self._link.frames(time.monotonic() + 0.05):
                self._hear(frame)

    def _speak(self) -> None:
        """Say something unasked."""

    def _hear(self, frame: bytes) -> None:
        """What the device says."""


def _mdns_question(name: str) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in (name, "local"))
    # Header: one question; type A, class IN (RFC 1035).
    question = struct.pack(">6H", 0, 0, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 1, 1)
    udp = struct.pack(">4H", _MDNS[1], _MDNS[1], 8 + len(question), 0) + question
    return _MDNS_MAC + packet(socket.IPPROTO_UDP, ADDRESS, _MDNS[0], udp)


def packet(protocol: int, source: str, target: str, data: bytes) -> bytes:
    """An IPv4 packet (RFC 791) from this end of the cable, as a frame without the MAC it goes to."""
    # Multicast DNS wants 255 hops (RFC 6762); others do not mind.
    head = struct.pack(">2B3H2BH", 0x45, 0, 20 + len(data), 0, 0, 255, protocol, 0)
    head += socket.inet_aton(source) + socket.inet_aton(target)
    head = head[:10] + struct.pack(">H", checksum(head)) + head[12:]
    return MAC + b"\x08\x00" + head + data


def arp_answer(frame: bytes, address: str) -> bytes:
    """ARP: an address of this end is at this MAC (RFC 826). Empty when the frame does not ask for it."""
    if frame[12:14] != b"\x08\x06" or frame[38:42] != socket.inet_aton(address):
        return b""
    head = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 2)
    return frame[6:12] + MAC + b"\x08\x06" + head + MAC + socket.inet_aton(address) + frame[22:32]


def _mdns_answer(frame: bytes) -> bytes:
    """The DNS message of a frame, when it is an mDNS answer."""
    if frame[12:14] != b"\x08\x00" or frame[23] != socket.IPPROTO_UDP:
        return b""
    udp = frame[14 + (frame[14] & 15) * 4 :]
    message = udp[8:]
    is_answer = udp[:2] == struct.pack(">H", _MDNS[1]) and len(message) > 12 and message[2] & 0x80
    return message if is_answer and message[6:8] != b"\0\0" else b""


def checksum(data: bytes) -> int:
    """The checksum of IP and TCP (RFC 1071); the data's length is even."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
