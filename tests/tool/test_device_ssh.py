"""The SSH server's host key: the one of persist if it can be read, else one made here."""

from __future__ import annotations

from tests.tool.device import Device

KEY = "run/skiff/ssh/dropbear_ed25519_host_key"
# Stands in for the program: a key that says `damaged` cannot be read.
DROPBEARKEY = """
. "$LIB/ssh.sh"
dropbearkey() {
	echo "$1" >>"$ROOT/called"
	case $1 in
	-y) ! grep -q damaged "$3" ;;
	-t) echo made >"$4" ;;
	esac
}
host_key
"""


def start(device: Device) -> list[str]:
    """Starts the service once; what dropbearkey was called for."""
    device.put("called", "")
    assert device.sh(DROPBEARKEY).returncode == 0
    return device.read("called").split()


def test_persists_key_is_taken_without_a_look(device: Device) -> None:
    device.put("run/skiff/seen/ssh/dropbear_ed25519_host_key", "kept\n")
    assert start(device) == []
    assert device.read(KEY) == "kept\n"


def test_a_server_that_ended_by_a_damaged_key_gets_another(device: Device) -> None:
    device.put("run/skiff/seen/ssh/dropbear_ed25519_host_key", "damaged\n")
    assert start(device) == []
    assert start(device) == ["-y", "-t"]
    assert device.read(KEY) == "made\n"
    assert start(device) == ["-y"]


def test_an_empty_key_is_none(device: Device) -> None:
    device.put("run/skiff/seen/ssh/dropbear_ed25519_host_key", "")
    assert start(device) == ["-t"]
    assert device.read(KEY) == "made\n"
