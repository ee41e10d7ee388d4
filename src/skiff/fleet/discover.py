"""Finds devices on the local network by what they tell of themselves (DNS-SD over multicast DNS)."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from skiff.host.errors import UserError

# Each device announces its SSH server so, with a word of Skiff's in its text (layers/base/services/mdns).
_SERVICE = "_ssh._tcp.local."
_WORD = b"skiff"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")


class Found(msgspec.Struct, frozen=True, order=True):
    """An SSH server that announces itself."""

    name: str
    addresses: tuple[str, ...]
    port: int
    # Version of Skiff there; empty for other systems.
    version: str = ""


class _Listener:
    """Keeps the names of services, as zeroconf tells of them."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}

    def add_service(self, link: object, kind: str, name: str) -> None:
        self.names[name] = None

    update_service = add_service

    def remove_service(self, link: object, kind: str, name: str) -> None:
        self.names.pop(name, None)


def discover(seconds: float, interfaces: Sequence[str] = ()) -> list[Found]:
    """Listen so long; ``interfaces`` are addresses of this machine's, and without them all are meant.

    Raises UserError when the library for it is not installed, or there is no network.
    """
    try:
        import zeroconf
    except ImportError as error:
        raise UserError(
            "the Python package zeroconf is not installed",
            hint=f"{sys.executable} -m pip install zeroconf",
        ) from error
    try:
        link = zeroconf.Zeroconf(interfaces=list(interfaces) or zeroconf.InterfaceChoice.All)
    except OSError as error:
        raise UserError(
            f"no multicast on this network: {error.strerror}", hint="ip addr; ip route"
        ) from error
    # Untyped, like the library where it is not installed.
    listener: Any = _Listener()
    with link:
        zeroconf.ServiceBrowser(link, _SERVICE, listener=listener)
        time.sleep(seconds)
        infos = [link.get_service_info(_SERVICE, name, timeout=1000) for name in list(listener.names)]
    found = (_found(info) for info in infos if info is not None)
    # Anybody on the network says what it likes, and this goes to terminals and into inventories.
    return sorted(one for one in found if _NAME.fullmatch(one.name))


def _found(info: Any) -> Found:
    version = (info.properties.get(_WORD) or b"").decode(errors="replace")
    return Found(
        (info.server or info.name).rstrip("."),
        tuple(info.parsed_scoped_addresses()),
        info.port or 22,
        "".join(char for char in version if char.isprintable()),
    )
