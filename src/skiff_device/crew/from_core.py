"""A `git push core@device:env` is a push to an app of Crew's, whose environment it is.

The user core, whom the client logged in as, hands the connection over (core/to_crew.py).
"""

from __future__ import annotations

import os
import re
import socket

from skiff_device.common.errors import DeviceError
from skiff_device.crew import names, store, to_core
from skiff_device.crew.paths import Paths


def take(paths: Paths, container: str, pid: str) -> None:
    """Make a client's connection this process's own. Raises OSError when it is not there any more."""
    with socket.socket(socket.AF_UNIX) as core:
        core.connect(str(paths.root / "run/skiff/core/push" / f"{container}.{pid}"))
        _, files, _, _ = socket.recv_fds(core, 1, 3)
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        # Stays open in the git that this process becomes: its end tells core that all is done.
        os.set_inheritable(core.detach(), True)


def app(paths: Paths, container: str) -> str:
    """The app of a container's environment, made with the first push. Raises DeviceError."""
    name = names.app(re.sub(r"[^a-z0-9]+", "-", container.lower()).strip("-"))
    if not store.exists(paths, name):
        store.create(paths, name)
        store.change(paths, name, "app", lambda section: section.update(core=container))
    elif to_core.container(store.section(paths, name, "app")) != container:
        raise DeviceError(
            f"there is an app {name}, which is no environment of {container}", f"apps:rename {name} NAME"
        )
    return name
