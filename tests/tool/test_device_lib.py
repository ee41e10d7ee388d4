"""What every script of the device builds on: reports, the kernel's command line, small files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.tool.device import ROOTFS, Device

LAYERS = Path(__file__).parents[2] / "layers"


def scripts() -> list[Path]:
    """Every shell script that the layers bring to the device."""
    found = []
    for path in sorted(LAYERS.rglob("*")):
        if path.is_file() and not path.is_symlink() and ("rootfs" in path.parts or "services" in path.parts):
            head = path.read_bytes()[:200]
            if head.startswith(b"#!/bin/sh") or b"# shellcheck shell=sh" in head or path.suffix == ".sh":
                found.append(path)
    return found


def test_there_are_scripts() -> None:
    assert LAYERS / "base/rootfs/usr/lib/skiff/boot" in scripts()


def test_scripts_that_are_started_are_executable() -> None:
    for path in scripts():
        if path.read_bytes().startswith(b"#!"):
            assert path.stat().st_mode & 0o111, path


def test_a_report_is_read_back_with_an_empty_field(device: Device) -> None:
    told = device.says(
        'report disk fail "it broke" "mend it"; report net ok "up"\n'
        'reported disk; echo "$STATE/$TEXT/$HINT"; reported net; echo "$STATE/$TEXT/$HINT"\n'
        'reported nobody; echo "$STATE/$TEXT/$HINT"'
    )
    assert told.split("\n") == ["fail/it broke/mend it", "ok/up/", "//"]
    assert device.status("disk") == ["fail", "it broke", "mend it"]


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("quiet skiff.persist=/dev/vda panic=10", "yes:/dev/vda"),
        ("skiff.persist=/dev/vda skiff.persist=/dev/vdb", "yes:/dev/vdb"),
        ("skiff.persist", "yes:"),
        ("noskiff.persist=/dev/vda", "no:"),
        ("skiff.persistent=1", "no:"),
    ],
)
def test_a_word_of_the_command_line(device: Device, words: str, value: str) -> None:
    device.cmdline(words)
    assert device.says('if cmdline skiff.persist; then echo "yes:$REPLY"; else echo "no:$REPLY"; fi') == value


@pytest.mark.parametrize(
    ("word", "value"), [("7", "7"), ("", "20"), ("x", "20"), ("-3", "20"), ("99999999", "20")]
)
def test_a_number_of_the_command_line(device: Device, word: str, value: str) -> None:
    device.cmdline(f"skiff.overlay_timeout={word}")
    assert device.says('cmdline_number skiff.overlay_timeout 20; echo "$REPLY"') == value


def test_the_clock_is_not_touched_when_it_is_after_the_build(device: Device) -> None:
    epoch = device.put("etc/skiff/epoch", "1700000000\n")
    os.utime(epoch, (1700000000, 1700000000))
    assert device.says('. "$LIB/clock.sh"; date() { echo "date $*"; }; clock_forward') == ""


def test_a_clock_before_the_build_is_put_after_it(device: Device) -> None:
    epoch = device.put("etc/skiff/epoch", "4000000000\n")
    os.utime(epoch, (4000000000, 4000000000))
    told = device.says('. "$LIB/clock.sh"; date() { echo "date $*" >&3; }; exec 3>&1; clock_forward')
    assert told == "date -s @4000000002"


def test_the_time_kept_on_persist_goes_before_the_build(device: Device) -> None:
    for path, seconds in (("etc/skiff/epoch", 4000000000), ("run/skiff/seen/clock", 4100000000)):
        os.utime(device.put(path, f"{seconds}\n"), (seconds, seconds))
    told = device.says('. "$LIB/clock.sh"; date() { echo "date $*" >&3; }; exec 3>&1; clock_forward')
    assert told == "date -s @4100000002"


@pytest.mark.parametrize("damaged", ["17", "", "abc", "4100000000000"])
def test_a_damaged_time_on_persist_is_none(device: Device, damaged: str) -> None:
    for path, text, seconds in (
        ("etc/skiff/epoch", "4000000000", 4000000000),
        ("run/skiff/seen/clock", damaged, 4100000000),
    ):
        os.utime(device.put(path, f"{text}\n"), (seconds, seconds))
    told = device.says('. "$LIB/clock.sh"; date() { echo "date $*" >&3; }; exec 3>&1; clock_forward')
    assert told == "date -s @4000000002"


@pytest.mark.parametrize(
    ("told", "chrony", "set_to"),
    [
        ("", None, "date -s @4100000002"),
        ("Normal", None, ""),
        ("", "Not synchronised", "date -s @4100000002"),
        ("", "Normal", ""),
    ],
)
def test_a_disk_that_comes_late_tells_the_time_unless_the_network_has(
    device: Device, told: str, chrony: str | None, set_to: str
) -> None:
    if told:
        device.put("run/skiff/time", told)
    if chrony:
        device.put("run/chrony/chronyd.sock", "")
    os.utime(device.put("etc/skiff/epoch", "1700000000\n"), (1700000000, 1700000000))
    kept = device.put("mnt/persist/skiff/clock", "4100000000\n")
    os.utime(kept, (4100000000, 4100000000))
    device.put("run/skiff/persist", "sda1\n")
    script = (ROOTFS.parent / "services/clock/run").read_text()
    fakes = (
        f'date() {{ case $1 in -s) echo "date $*" >>"$ROOT/told" ;; +%s) echo 4100000009 ;; esac; }}\n'
        f"timeout() {{ echo {chrony}; }}\npause() {{ exit; }}\n"
    )
    lines = script.replace(". /usr/lib/skiff/lib.sh", '. "$SKIFF_ROOT/usr/lib/skiff/lib.sh"\n' + fakes)
    device.put("told", "")
    assert device.raw(lines).returncode == 0
    assert device.read("told").strip() == set_to
    # Not before it was read.
    assert device.read("mnt/persist/skiff/clock") == "4100000009\n"


def test_a_time_that_never_ends_is_none(device: Device) -> None:
    (device.root / "mnt/persist/skiff").mkdir(parents=True)
    os.mkfifo(device.root / "mnt/persist/skiff/clock")
    assert device.says('. "$LIB/clock.sh"; date() { echo "date $*" >&3; }; exec 3>&1; clock_of_persist') == ""


def test_a_machine_id_is_made_once_and_kept(device: Device) -> None:
    device.put("proc/sys/kernel/random/uuid", "0a1b2c3d-0000-4000-8000-00000000beef\n")
    device.says('. "$LIB/keys.sh"; machine_id')
    assert device.read("etc/machine-id") == "0a1b2c3d00004000800000000000beef\n"
    device.put("proc/sys/kernel/random/uuid", "ffffffff-0000-4000-8000-00000000beef\n")
    device.says('. "$LIB/keys.sh"; machine_id')
    assert device.read("etc/machine-id") == "0a1b2c3d00004000800000000000beef\n"


def test_the_machine_id_of_persist_is_used(device: Device) -> None:
    device.put("run/skiff/seen/machine-id", "0123456789abcdef0123456789abcdef\n")
    device.says('. "$LIB/keys.sh"; machine_id')
    assert device.read("etc/machine-id") == "0123456789abcdef0123456789abcdef\n"
