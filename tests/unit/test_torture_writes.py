"""A log of writes and the disk that a power cut leaves: what was flushed is there, of the rest any part."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from torture.writes import SECTOR, Entry, Replay, entries


def log_of(path: Path, *told: tuple[int, int, bytes]) -> Path:
    """Entries as the kernel's dm-log-writes has them: sector, flags, data. The last one was never counted."""
    with path.open("wb") as file:
        file.write(struct.pack("<QQQI", 0x6A736677736872, 1, len(told), SECTOR).ljust(SECTOR, b"\0"))
        for sector, flags, data in told:
            file.write(struct.pack("<QQQQ", sector, len(data) // SECTOR, flags, 0).ljust(SECTOR, b"\0"))
            file.write(data)
        file.write(struct.pack("<QQQQ", 9, 9, 0, 0).ljust(SECTOR, b"\0"))
    return path


def sectors(letters: str) -> bytes:
    return b"".join(letter.encode() * SECTOR for letter in letters)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(sectors("........"))
    return path


def shown(path: Path) -> str:
    return "".join(chr(path.read_bytes()[at]) for at in range(0, 8 * SECTOR, SECTOR))


def test_what_was_flushed_is_never_lost(tmp_path: Path, disk: Path) -> None:
    log = log_of(tmp_path / "log", (0, 0, sectors("ab")), (0, 1, b""), (4, 0, sectors("cdef")))
    told = entries(log)
    assert [entry.settles for entry in told] == [False, True, False]
    replay = Replay(log, disk)
    replay.play(told)
    assert shown(replay.kept(tmp_path / "kept")) == "ab..cdef"
    left = {shown(replay.lost(tmp_path / "lost", random.Random(seed))) for seed in range(60)}
    assert {after[:4] for after in left} == {"ab.."}
    # Wholly, not at all, and single sectors of it.
    assert {"ab..cdef", "ab......"} < left and len(left) > 6


def test_later_writes_win(tmp_path: Path, disk: Path) -> None:
    log = log_of(tmp_path / "log", (0, 0, sectors("ab")), (1, 2, sectors("x")), (1, 0, sectors("y")))
    replay = Replay(log, disk)
    replay.play(entries(log)[:2])
    # A write that is on the medium when it ends takes with it what was told before.
    assert shown(replay.lost(tmp_path / "lost", random.Random(1))) == "ax......"
    replay.play(entries(log)[2:])
    assert shown(replay.kept(tmp_path / "kept")) == "ay......"


def test_what_is_given_up_has_no_data(tmp_path: Path, disk: Path) -> None:
    log = tmp_path / "log"
    log_of(log, (2, 0, sectors("abcd")), (0, 1, b""))
    with log.open("r+b") as file:
        # Its data are not in the log: the flush comes right after it.
        file.seek(SECTOR)
        file.write(struct.pack("<QQQQ", 2, 4, 4, 0).ljust(SECTOR, b"\0"))
        file.write(struct.pack("<QQQQ", 0, 0, 1, 0).ljust(SECTOR, b"\0"))
    told = entries(log)
    assert told[1] == Entry(0, 0, 1, 3 * SECTOR)
    replay = Replay(log, disk)
    replay.play(told)
    assert disk.read_bytes()[: 7 * SECTOR] == sectors("..") + bytes(4 * SECTOR) + sectors(".")


def test_another_file_is_refused(disk: Path) -> None:
    with pytest.raises(ValueError, match="no log of writes"):
        entries(disk)
