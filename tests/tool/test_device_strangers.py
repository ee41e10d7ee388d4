"""Connections to SSH that never log in: who goes when they are a crowd, and who never does."""

from __future__ import annotations

import pytest

from tests.tool.device import Device

SERVER = 177
LOG = ("0100001", 9)
WATCH = """. "$LIB/guard.sh"
kill() { echo "$1"; rm -f "$PROC/177/task/177/children"; }
pause() { read -r now _ <"$PROC/uptime"; echo "$((${now%.*} + $1)).00 1.00" >"$PROC/uptime"; }
ENDED=0
"""


def process(device: Device, pid: int, started: int, opened: list[tuple[str, int]]) -> None:
    """One that began in that second, with files open: how, and the inode."""
    more = " ".join(["0"] * 17)
    device.put(f"proc/{pid}/stat", f"{pid} (dropbear) S {SERVER} {more} {started}07 4648960 405\n")
    for number, (flags, inode) in enumerate(opened):
        device.put(f"proc/{pid}/fdinfo/{number}", f"pos:\t0\nflags:\t{flags}\nmnt_id:\t16\nino:\t{inode}\n")


def crowd(device: Device, *, strangers: list[int], logged_in: int = 0) -> None:
    """At second 100, a server with a log and the connections that began in those seconds, from pid 201 on.

    Those who have logged in began long ago and come last.
    """
    began = strangers + [3] * logged_in
    pipes = [("0", 1000 + n) for n in range(len(began))]
    device.put("proc/uptime", "100.00 1.00\n")
    device.put("etc/service/ssh/supervise/pid", f"{SERVER}\n")
    process(device, SERVER, 3, [LOG, ("04002", 8), *pipes[: len(strangers)]])
    for number, second in enumerate(began):
        # Each has the reading ends of those that were there before it, and a pipe of its own to itself.
        own = [("01", 1000 + number), ("04000", number), ("04001", number)]
        process(device, 201 + number, second, [LOG, *pipes[:number], *own])
    children = "".join(f"{201 + number} " for number in range(len(began)))
    device.put(f"proc/{SERVER}/task/{SERVER}/children", children)


@pytest.mark.parametrize(
    ("began", "logged_in", "ended"),
    [
        # A crowd: those who have had 20 seconds go.
        ([80, 81, 60, *[99] * 17], 0, "201 203"),
        # All places are taken: those who have had 5 seconds go.
        ([95, 96, *[99] * 28], 0, "201"),
        # Few may take their time, however many there are who have logged in.
        ([60, *[99] * 18], 30, ""),
    ],
)
def test_who_has_to_go(device: Device, began: list[int], logged_in: int, ended: str) -> None:
    crowd(device, strangers=began, logged_in=logged_in)
    assert device.says(f"{WATCH}strangers_make_room").split() == ended.split()


def test_a_crowd_is_seen_between_two_looks_and_told_once(device: Device) -> None:
    crowd(device, strangers=[97] * 30)
    assert len(device.says(f"{WATCH}strangers_watch 4").split()) == 30
    assert device.read("dev/kmsg").count("30 connections to SSH were ended") == 1


def test_a_server_that_does_not_run_is_no_matter_of_crowds(device: Device) -> None:
    crowd(device, strangers=[3] * 30)
    device.put("etc/service/ssh/supervise/pid", "")
    assert device.says(f"{WATCH}strangers_make_room") == ""
