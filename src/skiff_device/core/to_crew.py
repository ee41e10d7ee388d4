"""Hands the connection of a `git push core@device:env` to Crew, where that is: it receives what it deploys.

Crew has a user of its own, whom only root can start: the service core does, and its other half
(crew/from_core.py) takes the connection over this socket.
"""

from __future__ import annotations

import os
import socket

from skiff_device.common import fifo
from skiff_device.common.errors import DeviceError
from skiff_device.core.paths import Paths

# Seconds in which the service must start Crew. A Python takes some on a small board.
_PATIENCE = 60.0


def hand_over(paths: Paths, container: str) -> int:
    """Give Crew the client's connection, and wait until it has done; returns a status. Raises DeviceError."""
    pid = os.getpid()
    place = paths.run / "push" / f"{container}.{pid}"
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.bind(str(place))
            # Crew is in the group of that folder, as every user of core is.
            place.chmod(0o660)
            server.listen(1)
            server.settimeout(_PATIENCE)
            fifo.tell(paths.run / "requests", f"crew {container} {pid}\n".encode())
            crew, _ = server.accept()
        except OSError as error:
            raise DeviceError(f"Crew does not take the push: {error}", "sv status core") from None
        finally:
            place.unlink(missing_ok=True)
    with crew:
        crew.settimeout(None)
        socket.send_fds(crew, [b"\0"], [0, 1, 2])
        # Git holds the other end until it has done.
        crew.recv(1)
    return 0
