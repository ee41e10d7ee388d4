"""Persist that runs short of room: what can be made anew goes by itself, once, and nothing else does."""

from __future__ import annotations

from tests.tool.device import Device

# Each word is the free room at one look, of 1000 MiB.
LOOKS = """
. "$LIB/persist-room.sh"
docker() { echo "docker $*" >>"$ROOT/called"; }
df() { [ -z "$free" ] || echo "/dev/vda1 1000 0 $free 0%% /mnt/persist"; }
MADE_ROOM=
for free in %s; do
	persist_make_room
	wait
done
"""
PRUNED = ["docker image prune --force --filter until=24h", "docker builder prune --force --filter until=24h"]


def called(device: Device, looks: str) -> list[str]:
    device.put("called", "")
    device.says(LOOKS % looks)
    return device.read("called").splitlines()


def test_nothing_goes_while_there_is_room(device: Device) -> None:
    assert called(device, "900 100") == []


def test_what_can_be_made_anew_goes_once(device: Device) -> None:
    assert called(device, "99 98 10") == PRUNED
    assert "persist is nearly full" in device.read("dev/kmsg")


def test_once_more_when_there_was_room_in_between(device: Device) -> None:
    assert called(device, "99 500 98") == PRUNED * 2


def test_persist_that_cannot_be_asked_is_left_alone(device: Device) -> None:
    assert called(device, "''") == []
