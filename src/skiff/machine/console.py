"""The guest's serial console on this terminal: shown, or fully attached."""

from __future__ import annotations

import contextlib
import os
import select
import termios
import tty
from collections.abc import Callable, Iterator

from skiff.host.errors import UserError
from skiff.machine.files import MachineFiles
from skiff.machine.process import Process
from skiff.machine.qmp import connect

# Ctrl-]: leaves the console, as in telnet.
LEAVE = b"\x1d"

_BLOCK = 65536


def follow(files: MachineFiles, write: Callable[[bytes], object]) -> None:
    """Pass on all that the console says, from power-on until the machine ends."""
    process = Process.find(files)
    with files.console_log.open("rb") as log:
        while True:
            while part := log.read(_BLOCK):
                write(part)
            if process is None:
                return
            # The log is an ordinary file: nothing tells when it grows.
            if process.wait(0.1):
                process.close()
                process = None


def attach(files: MachineFiles, keyboard: int, screen: int) -> bool:
    """Join terminal and console until Ctrl-] (False) or the machine's end (True).

    ``keyboard`` and ``screen`` are file descriptors. Raises UserError when nobody listens.
    """
    try:
        link = connect(files.console, timeout=5.0)
    except OSError as error:
        raise UserError(f"the console cannot be reached: {error}", hint="skiff status") from error
    with link, _raw(keyboard):
        link.setblocking(True)
        watched = [link.fileno(), keyboard]
        while True:
            ready, _, _ = select.select(watched, [], [])
            if link.fileno() in ready:
                output = link.recv(_BLOCK)
                if not output:
                    return True
                _write_all(screen, output)
            if keyboard in ready:
                typed = os.read(keyboard, 1024)
                if LEAVE in typed:
                    link.sendall(typed.split(LEAVE)[0])
                    return False
                if typed:
                    link.sendall(typed)
                else:
                    # End of a keyboard that is no terminal: keep showing.
                    watched = [link.fileno()]


def _write_all(screen: int, data: bytes) -> None:
    while data:
        data = data[os.write(screen, data) :]


@contextlib.contextmanager
def _raw(keyboard: int) -> Iterator[None]:
    """Every key goes to the guest, Ctrl-C too; the terminal is put back afterwards."""
    if not os.isatty(keyboard):
        yield
        return
    before = termios.tcgetattr(keyboard)
    try:
        # Not flushing: what was typed already counts.
        tty.setraw(keyboard, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
