"""One build at a time in a workspace, one at a time at what builds share."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skiff.host.errors import UserError
from skiff.model.workspace import Workspace


@contextmanager
def exclusive(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file while the block runs; the kernel releases it whatever happens.

    Raises UserError at once when another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise UserError(
                f"{what} is under way (pid {holder})", hint="wait for it, or choose another --workspace"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


@contextmanager
def waiting(path: Path) -> Iterator[None]:
    """Hold the lock file while the block runs, after whoever has it: for work of a moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def hold(workspace: Workspace) -> Iterator[None]:
    """Hold a workspace while building in it. Raises UserError when another process does."""
    with exclusive(workspace.busy, f"another build of workspace {workspace.name}"):
        yield
