"""Trials of slots: tried, confirmed and given up, on UEFI and with U-Boot."""

from __future__ import annotations

import pytest

from tests.tool.device import Device
from tests.tool.device_slots import FILES, Slots


def test_an_update_is_tried_and_confirmed(slots: Slots) -> None:
    slots.write()
    assert slots.does("slots_try 3 200") == ["slot b"]
    assert slots.states() == (("spare", "trial"))
    if slots.loader == "uefi":
        assert slots.entries == ["skiff-a.conf", "skiff-b+3.conf"]
        entry = slots.device.read("run/skiff/boot/loader/entries/skiff-b+3.conf")
        assert "version 2\nlinux /b/kernel\ninitrd /b/initramfs\n" in entry
        assert "options quiet panic=10 skiff.slot=b\n" in entry
        # As systemd-boot leaves it behind.
        (slots.boot / "loader/entries/skiff-b+3.conf").rename(slots.boot / "loader/entries/skiff-b+2-1.conf")
    else:
        assert slots.has_state() == b"b\x03t"
    slots.run_from("b")
    assert slots.does("slots_started") == ["trial b 200"]
    slots.does("slots_well")
    assert slots.states()[1] == "trial"
    slots.does("slots_confirm")
    assert (slots.device.root / "run/skiff/confirmed").exists()
    assert slots.states() == ("spare", "good")
    assert (
        slots.entries == ["skiff-a.conf", "skiff-b.conf"]
        if slots.loader == "uefi"
        else slots.has_state() == b"b\x05g"
    )


def test_the_guard_leaves_alone_what_was_ordered_before_it_looked(slots: Slots) -> None:
    slots.write()
    slots.does("slots_try 3 200")
    slots.does("slots_well")
    assert slots.states()[1] == "trial"
    slots.run_from("b")
    slots.does("slots_rollback 1 100")
    slots.does("slots_well")
    slots.run_from("a")
    assert slots.states()[0] == "good"


def test_an_update_without_confirmation_is_given_up(slots: Slots) -> None:
    slots.write()
    slots.does("slots_try 3 200")
    slots.run_from("b")
    assert slots.does("slots_rollback 3 300") == ["slot a"]
    slots.run_from("a")
    assert slots.states()[0] == "good"
    assert slots.entries == ["skiff-a.conf"] if slots.loader == "uefi" else slots.has_state() == b"a\xffg"


def test_a_trial_that_is_given_up_twice_leaves_the_good_slot_good(slots: Slots) -> None:
    slots.write()
    slots.does("slots_try 3 200")
    slots.run_from("b")
    for _ in range(2):
        assert slots.does("slots_rollback 3 300") == ["slot a"]
        assert slots.states() == ("good", "spare")
    # Nor is the only good slot written to.
    assert "slot a is started next" in slots.refuses("slots_prepare", slots.manifest(version="2001"))
    assert slots.states() == ("good", "spare")
    slots.run_from("a")
    assert slots.does("slots_started") == ["good a"]
    # On purpose, from a good one: a trial as ever.
    slots.does("slots_rollback 3 300")
    assert slots.states() == ("spare", "trial")


def test_no_moment_of_a_rollback_makes_the_trial_good(device: Device) -> None:
    slots = Slots(device, "uboot")
    slots.write()
    slots.does("slots_try 3 200")
    slots.run_from("b")
    # Power goes after the first write.
    slots.does('dd() { [ -e "$RUN/cut" ] || command dd "$@"; : >"$RUN/cut"; }\nslots_rollback 3 300')
    assert slots.states() == ("good", "spare")


@pytest.mark.parametrize("left", [None, "skiff-b+0-3.conf"])
def test_a_trial_is_not_taken_away_when_nothing_else_would_start(device: Device, left: str | None) -> None:
    slots = Slots(device, "uefi")
    slots.fill("b", FILES)
    (slots.boot / "loader/entries/skiff-a.conf").unlink()
    slots.entry("skiff-a+2-1.conf", 7)
    if left:
        slots.entry(left, 6)
    assert slots.does("slots_started") == ["trial a 300"]
    assert slots.does("slots_rollback 3 300") == ["slot b"]
    assert slots.entries == ["skiff-a+2-1.conf", "skiff-b+3.conf"]
    assert slots.states() == ("trial", "trial")


# The guard and a confirmation at the same time: each waits for the other one's lock.
def test_a_guard_that_comes_after_the_confirmation(slots: Slots) -> None:
    slots.write()
    slots.does("slots_try 3 200")
    slots.run_from("b")
    slots.does("slots_confirm")
    slots.does("slots_expire")
    assert slots.states() == ("spare", "good")


def test_a_confirmation_that_comes_after_the_guard(slots: Slots) -> None:
    slots.write()
    slots.does("slots_try 3 200")
    slots.run_from("b")
    slots.does("slots_expire")
    assert slots.states() == ("good", "spare")
    # What it says is what is started.
    if slots.loader == "uefi":
        assert "slot b was given up" in slots.refuses("slots_confirm")
        assert slots.states() == ("good", "spare")
        assert not (slots.device.root / "run/skiff/confirmed").exists()
    else:
        assert slots.does("slots_confirm") == ["slot b"]
        assert slots.states() == ("spare", "good")


def test_a_slot_that_never_came_up_is_told(slots: Slots) -> None:
    slots.write()
    slots.does("slots_try 1 200")
    if slots.loader == "uefi":
        (slots.boot / "loader/entries/skiff-b+1.conf").rename(slots.boot / "loader/entries/skiff-b+0-1.conf")
    else:
        slots.state(b"b\x00t")
    slots.run_from("a")
    assert slots.states()[1] == "bad"
    assert slots.does("slots_started") == ["second a b"]
    slots.does("slots_well")
    if slots.loader == "uboot":
        # Nor is it a place to go to: starts that are cut short are not counted until an update was confirmed.
        assert slots.has_state() == b"a\xffg"
        slots.does("slots_well")
        assert slots.has_state() == b"a\xffg"
        slots.write()
        slots.does("slots_try 3 200")
        slots.run_from("b")
        slots.does("slots_confirm")
        assert slots.has_state() == b"b\x05g"


def test_the_last_word_counts(slots: Slots) -> None:
    slots.write()
    slots.does("slots_try 3 200")
    slots.run_from("b")
    slots.does("slots_confirm")
    # Back to a, and then not, for b is well.
    slots.does("slots_rollback 3 300")
    slots.does("slots_confirm")
    assert slots.states() == ("spare", "good")
    assert (slots.boot / "a/kernel").exists()


def test_a_way_back_is_a_trial_too(slots: Slots) -> None:
    slots.write()
    slots.does("slots_try 3 200")
    slots.run_from("b")
    slots.does("slots_confirm")
    assert slots.does("slots_rollback 2 100") == ["slot a"]
    assert slots.states()[0] == "trial"
    if slots.loader == "uefi":
        assert "skiff-a+2.conf" in slots.entries
        assert "version 3\n" in slots.device.read("run/skiff/boot/loader/entries/skiff-a+2.conf")
    (slots.boot / "a/initramfs").write_bytes(b"damaged")
    assert "not whole" in slots.refuses("slots_rollback 2 100")
