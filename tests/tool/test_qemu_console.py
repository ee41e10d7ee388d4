"""The guest's console on this terminal: shown from power-on, or joined with the keyboard."""

from __future__ import annotations

import os
import pty
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from skiff.host.errors import UserError
from skiff.machine import console, lifecycle
from skiff.machine.files import MachineFiles
from skiff.machine.qemu import Options
from tests.tool.fake_machine import FakeHost, machine_files, small_image


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHost]:
    fake = FakeHost(tmp_path, monkeypatch)
    yield fake
    fake.end_all()


@pytest.fixture
def files(tmp_path: Path, host: FakeHost) -> MachineFiles:
    host.qemu(console="from the first line on\n")
    files = machine_files(tmp_path)
    lifecycle.start(small_image(tmp_path / "image"), Options(), files, "tcg")
    return files


def test_following_shows_all_until_the_machine_ends(files: MachineFiles) -> None:
    shown: list[bytes] = []
    seen = threading.Event()

    def write(data: bytes) -> None:
        shown.append(data)
        seen.set()

    reader = threading.Thread(target=console.follow, args=(files, write))
    reader.start()
    assert seen.wait(10)
    with files.console_log.open("a") as log:
        log.write("last words\n")
    lifecycle.cut_power(files)
    reader.join(10)
    assert not reader.is_alive()
    assert b"".join(shown) == b"from the first line on\nlast words\n"


def test_keys_reach_the_guest_and_its_answer_the_screen(files: MachineFiles) -> None:
    keys, keyboard = os.pipe()
    shown, screen = os.pipe()
    os.write(keyboard, b"hello\r")
    # The stand-in answers once and hangs up, as a machine that ends does.
    assert console.attach(files, keys, screen) is True
    assert os.read(shown, 100) == b"guest says: hello\r"
    for descriptor in (keys, keyboard, shown, screen):
        os.close(descriptor)


def test_the_leave_key_leaves_and_the_terminal_is_as_before(files: MachineFiles) -> None:
    outside, inside = pty.openpty()
    before = termios.tcgetattr(inside)
    os.write(outside, console.LEAVE)
    assert console.attach(files, inside, inside) is False
    assert termios.tcgetattr(inside) == before
    os.close(outside)
    os.close(inside)


def test_a_console_without_machine_is_told(files: MachineFiles) -> None:
    lifecycle.cut_power(files)
    with pytest.raises(UserError, match="console cannot be reached"):
        console.attach(files, 0, 1)
