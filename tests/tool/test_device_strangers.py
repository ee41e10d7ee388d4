"""Connections to SSH that never log in: who goes when they are a crowd, and who never does."""

from __future__ import annotations

import pytest

from tests.tool.device import Device

SERVER = 177
MAKE_ROOM = '. "$LIB/guard.sh"\nkill() {{ echo $1; }}\nCOUNT={count}\nstrangers_make_room'


def process(
    device: Device, pid: int, started: int, opened: list[tuple[str, int]], parent: int = SERVER
) -> None:
    """One that began in that second, with files open: how, and the inode."""
    more = " ".join(["0"] * 17)
    device.put(f"proc/{pid}/stat", f"{pid} (dropbear) S {parent} {more} {started}07 4648960 405\n")
    for number, (flags, inode) in enumerate(opened):
        device.put(f"proc/{pid}/fdinfo/{number}", f"pos:\t0\nflags:\t{flags}\nmnt_id:\t16\nino:\t{inode}\n")


@pytest.fixture
def crowded(device: Device) -> Device:
    """A server with a log, and three connections: an old and a new one that did not log in, one that did."""
    device.put("proc/uptime", "100.00 1.00\n")
    device.put("etc/service/ssh/supervise/pid", f"{SERVER}\n")
    log = ("0100001", 9)
    process(device, SERVER, 3, [log, ("04002", 8), ("0", 22), ("0", 33)], parent=172)
    # Each has the reading end of those that were there before it, and a pipe of its own to itself.
    process(device, 201, 20, [log, ("0", 22), ("04000", 1), ("04001", 1)])
    process(device, 202, 21, [log, ("01", 22), ("04000", 2), ("04001", 2)])
    process(device, 203, 95, [log, ("0", 22), ("01", 33)])
    return device


def test_in_a_crowd_the_old_ones_that_have_not_logged_in_go(crowded: Device) -> None:
    assert crowded.says(MAKE_ROOM.format(count=20)) == "202"
    assert "1 connections to SSH were ended" in crowded.read("dev/kmsg")


def test_few_may_take_their_time(crowded: Device) -> None:
    assert crowded.says(MAKE_ROOM.format(count=19)) == ""


def test_a_server_that_does_not_run_is_no_matter_of_crowds(crowded: Device) -> None:
    crowded.put("etc/service/ssh/supervise/pid", "")
    assert crowded.says(MAKE_ROOM.format(count=30)) == ""
