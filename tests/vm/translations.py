"""An emulated machine whose resets cost what its first start does.

QEMU keeps the code that it translated before a reset, and is slow to write where that came from: a kernel
that unpacks itself over the one before takes longer as chance has it (49 s were seen), which no board does.
It drops it all after a debugger's single step (`tb_flush` in `gdb_vm_state_change`, gdbstub.c of QEMU 7.2).
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from pathlib import Path

from skiff.machine import qmp

_EVENTS, _DEBUGGER = "events.sock", "debugger.sock"
# Seconds for an answer; QEMU needs some milliseconds.
_PATIENCE = 30.0


def words() -> tuple[str, ...]:
    """What QEMU is started with, in the folder that `drop_at_resets` is told."""
    return (
        *("-qmp", f"unix:{_EVENTS},server=on,wait=off"),
        *("-gdb", f"unix:{_DEBUGGER},server=on,wait=off"),
    )


def drop_at_resets(folder: Path) -> None:
    """From now on have QEMU drop its translations when its machine is reset, until it ends."""
    threading.Thread(target=watch, args=(folder,), daemon=True).start()


def watch(folder: Path) -> None:
    """Drop them at each reset until QEMU ends."""
    with (
        # It ends at any moment, as tests have it. One that does not answer is told: its machine stands still.
        contextlib.suppress(ConnectionError, FileNotFoundError, EOFError),
        qmp.connect(folder / _EVENTS, _PATIENCE) as link,
        link.makefile("rwb") as stream,
    ):
        link.settimeout(None)
        stream.write(b'{"execute": "qmp_capabilities"}\n')
        stream.flush()
        for line in stream:
            if json.loads(line).get("event") == "RESET":
                _drop(folder)


def _drop(folder: Path) -> None:
    """One single step of a debugger that comes and goes (Debugging with GDB, Remote Protocol)."""
    with qmp.connect(folder / _DEBUGGER, _PATIENCE) as link:
        # The machine stops when somebody connects, tells so, steps, tells again, and is let go.
        for expected, packet in ((b"T02", b"$s#73"), (b"T05", b"$D#44"), (b"OK", b"")):
            _wait_for(link, expected)
            link.sendall(b"+" + packet)


def _wait_for(link: socket.socket, expected: bytes) -> None:
    """Read up to the end of the packet that begins with this."""
    said = b""
    while True:
        said += link.recv(1) or _ended()
        start = said.find(b"$" + expected)
        # A packet ends with `#` and two digits.
        if start >= 0 and len(said) == said.find(b"#", start) + 3 > start + 3:
            return


def _ended() -> bytes:
    raise EOFError
