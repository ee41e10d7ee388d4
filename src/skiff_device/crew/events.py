"""What was done and by whom: one line each, in a file that never grows beyond a bound."""

from __future__ import annotations

import time

from skiff_device.common.errors import of_disk
from skiff_device.common.files import write_atomically
from skiff_device.crew import store
from skiff_device.crew.command import Caller
from skiff_device.crew.paths import Paths

# In bytes; beyond it the older half goes.
_LIMIT = 256 << 10


def log(paths: Paths, caller: Caller, text: str) -> None:
    """Note a change. Values of variables never come here."""
    safe = "".join(c if c.isprintable() else "?" for c in text)[:500]
    line = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {caller.name} {safe}\n"
    with store.alone(paths, "events"):
        try:
            _append(paths, line.encode())
        except OSError as error:
            # What was done is done, also when a full disk keeps no word of it.
            of_disk(error, "cleanup")


def _append(paths: Paths, line: bytes) -> None:
    with paths.events.open("ab") as file:
        file.write(line)
        size = file.tell()
    if size > _LIMIT:
        kept = paths.events.read_bytes()[-_LIMIT // 2 :].partition(b"\n")[2]
        write_atomically(paths.events, kept.decode(errors="replace"), 0o600)


def read(paths: Paths) -> list[str]:
    """All lines, oldest first."""
    try:
        return paths.events.read_text(errors="replace").splitlines()
    except OSError:
        return []
