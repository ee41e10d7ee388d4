"""A machine in this terminal: its console is shown or joined, and it ends when one leaves."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from skiff.host.errors import UserError
from skiff.host.ui import Ui
from skiff.machine import console, lifecycle
from skiff.machine.bringup import Wish, await_wish
from skiff.machine.files import MachineFiles, State
from skiff.model.image import Image


def show(image: Image, files: MachineFiles, state: State, keys: tuple[Path, ...], wish: Wish, ui: Ui) -> None:
    """Show the console until the machine ends or Ctrl-C; then the machine is stopped.

    Meanwhile one line tells when it answers, or why it does not.
    """

    def wait() -> None:
        try:
            ready = await_wish(image, files, state, keys, wish, Ui(quiet=True))
        except UserError as error:
            if lifecycle.is_running(files):
                ui.warn(error.message.splitlines()[0])
            return
        if ready.ssh_seconds is not None:
            ui.notice(f"skiff: SSH answered {ready.ssh_seconds:.1f} s after power-on: skiff ssh")
        if ready.engine_seconds is not None:
            ui.notice(f"skiff: {image.engine} ran a container {ready.engine_seconds:.1f} s after power-on")

    threading.Thread(target=wait, daemon=True).start()
    try:
        console.follow(files, _write)
    except KeyboardInterrupt:
        ui.notice("\nskiff: stopping the machine")
    finally:
        lifecycle.stop(files, power_off=None)


def join(files: MachineFiles, ui: Ui, *, stop: bool) -> None:
    """Join console and keyboard until Ctrl-] or the machine's end; ``stop`` then ends the machine."""
    ui.notice("the console of the machine; Ctrl-] leaves it" + (" and stops the machine" if stop else ""))
    try:
        console.attach(files, sys.stdin.fileno(), sys.stdout.fileno())
    finally:
        if stop:
            lifecycle.stop(files, power_off=None)


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
