"""HTTP over a Unix socket, as the container engine speaks it."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path

from skiff_device.common.errors import EngineDown


class Connection(http.client.HTTPConnection):
    """One connection to a socket in the file system. timeout in seconds; None waits without a limit."""

    def __init__(self, path: Path, timeout: float | None = None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Open it. Raises EngineDown when nobody listens."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self._path))
        except OSError:
            self.sock.close()
            raise EngineDown("the container engine does not answer", "skiff-status engine") from None
