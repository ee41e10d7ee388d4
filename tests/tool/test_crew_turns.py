"""Files that several commands of crew write at once: one after the other, whatever they are about."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from skiff_device.crew import keys, status
from skiff_device.crew.engine import Engine
from skiff_device.crew.paths import Paths


@pytest.mark.parametrize(
    ("module", "lock", "write"),
    [
        (keys, "keys", keys.write),
        (status, "status", lambda paths: status.write(paths, Engine(paths))),
    ],
)
def test_writers_take_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: object, lock: str, write: Callable[[Paths], None]
) -> None:
    paths = Paths(tmp_path)
    written: list[str] = []

    def look(path: Path, text: str, *_: object) -> None:
        with (paths.locks / lock).open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        written.append(path.name)

    monkeypatch.setattr(module, "write_atomically", look)
    write(paths)
    assert written == ["authorized_keys" if lock == "keys" else "status"]
    # And it is given back.
    file = os.open(paths.locks / lock, os.O_RDWR)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(file)
