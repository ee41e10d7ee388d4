"""Who may log in, and what the device is called."""

from __future__ import annotations

import os

import pytest

from tests.tool.device import Device

LOAD = '. "$LIB/keys.sh"\n'
ONE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOneOneOne ann@desk"
TWO = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYTwo bob@desk"


def test_keys_of_image_and_persist_are_merged(device: Device) -> None:
    device.put("etc/skiff/authorized_keys/build.pub", ONE + "\n")
    device.put("run/skiff/seen/keys/bob.pub", f"# mine\n\n{TWO}\r\n{ONE}\n")
    device.says(LOAD + "write_keys")
    assert device.read("root/.ssh/authorized_keys") == f"{ONE}\n{TWO}\n"
    assert device.status("keys")[:2] == ["ok", "2"]
    assert (device.root / "root/.ssh/authorized_keys").stat().st_mode & 0o777 == 0o600
    assert (device.root / "root/.ssh").stat().st_mode & 0o777 == 0o700


def test_a_line_that_is_no_key_is_left_out_and_told(device: Device) -> None:
    device.put("etc/skiff/authorized_keys/build.pub", ONE + "\n")
    device.put(
        "run/skiff/seen/keys/bad.pub",
        b"-----BEGIN OPENSSH PRIVATE KEY-----\n\x00\x01\x02\nssh-ed25519 notbase64\n",
    )
    device.says(LOAD + "write_keys 2>/dev/null")
    assert device.read("root/.ssh/authorized_keys") == f"{ONE}\n"
    state, text, _ = device.status("keys")
    assert state == "warn"
    assert "bad.pub" in text


def test_a_key_may_have_options_and_no_newline(device: Device) -> None:
    line = f'restrict,command="uptime" {ONE}'
    device.put("run/skiff/seen/keys/x.pub", line)
    device.says(LOAD + "write_keys")
    assert device.read("root/.ssh/authorized_keys") == f"{line}\n"


def test_no_key_at_all_is_a_failure(device: Device) -> None:
    device.says(LOAD + "write_keys")
    assert device.status("keys")[0] == "fail"


def test_keys_are_replaced_whole(device: Device) -> None:
    device.put("etc/skiff/authorized_keys/build.pub", ONE + "\n")
    device.says(LOAD + "write_keys")
    device.put("run/skiff/seen/keys/bob.pub", TWO + "\n")
    device.says(LOAD + "write_keys")
    assert device.read("root/.ssh/authorized_keys") == f"{ONE}\n{TWO}\n"
    assert not (device.root / "root/.ssh/authorized_keys.new").exists()


def test_keys_that_cannot_be_written_are_told(device: Device) -> None:
    device.put("etc/skiff/authorized_keys/build.pub", ONE + "\n")
    device.put("root/.ssh", "")
    device.sh(LOAD + "write_keys")
    state, text, hint = device.status("keys")
    assert (state, "cannot be written" in text) == ("fail", True)
    assert hint


def test_the_host_name_of_persist_goes_before_the_images(device: Device) -> None:
    device.put("etc/hostname", "skiff\n")
    device.put("proc/sys/kernel/hostname", "(none)\n")
    device.put("run/skiff/seen/hostname", "attic\n")
    device.says(LOAD + "set_hostname")
    assert device.read("proc/sys/kernel/hostname") == "attic"
    assert "127.0.1.1 attic" in device.read("etc/hosts")


@pytest.mark.parametrize("name", ["", "a b", "-x", "x-", "ä", "a" * 64, "x;reboot"])
def test_what_is_no_host_name_is_left_out(device: Device, name: str) -> None:
    device.put("etc/hostname", "skiff\n")
    device.put("proc/sys/kernel/hostname", "(none)\n")
    device.put("run/skiff/seen/hostname", name + "\n")
    device.says(LOAD + "set_hostname")
    assert device.read("proc/sys/kernel/hostname") == "skiff"
    assert device.status("hostname")[0] == "warn"


def test_what_never_ends_is_no_host_name(device: Device) -> None:
    device.put("etc/hostname", "skiff\n")
    device.put("proc/sys/kernel/hostname", "(none)\n")
    os.mkfifo(device.root / "run/skiff/seen/hostname")
    device.says(LOAD + "set_hostname")
    assert device.read("proc/sys/kernel/hostname") == "skiff"
    assert device.status("hostname")[0] == "warn"
