"""The network interfaces of this device: which one leads to an address."""

from __future__ import annotations

import fcntl
import socket
import struct

from skiff_device.common.errors import DeviceError

# Of linux/sockios.h: ask an interface for its address.
_SIOCGIFADDR = 0x8915
# For documentation (RFC 5737): whatever is anywhere else is behind the same interface. Nothing is sent.
_ELSEWHERE = "192.0.2.1"


def towards(host: str = _ELSEWHERE) -> str:
    """The interface that leads to a host, or to the rest of the world. Raises DeviceError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))
        except OSError as error:
            why = error.strerror or str(error)
            raise DeviceError(f"no interface leads to {host}: {why}", "name one: --interface eth0") from None
        address = probe.getsockname()[0]
        for _, name in socket.if_nameindex():
            if _address(probe, name) == address:
                return name
    raise DeviceError(f"no interface leads to {host}", "name one: --interface eth0")


def _address(probe: socket.socket, name: str) -> str:
    try:
        answer = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", name.encode()))
    except OSError:
        return ""
    return socket.inet_ntoa(answer[20:24])
