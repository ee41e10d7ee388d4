"""`skiff fleet push` over fifty real SSH servers, each a device of its own; some fail, each in its way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skiff.__main__ import main
from skiff.cli import fleet_push
from skiff.host.run import which
from skiff.host.ui import Ui
from skiff.image.slot import write_slot
from skiff.model.disk import DiskPlan
from tests.tool.fake_machine import RECEIVED, small_image
from tests.tool.ssh_server import Servers, missing, ssh_servers

# No machine boots, but twelve sessions for each of fifty devices are too slow to be among the quick tests.
pytestmark = [
    pytest.mark.vm,
    pytest.mark.skipif(
        bool(missing()) or which("rsync") is None, reason=missing() or "needs the program rsync"
    ),
]

COUNT = 50
# A device is a folder: `running` is its slot, `boots` its restarts, `trouble` what goes wrong with it.
PROGRAMS = {
    "cat": """
case $1 in
/proc/sys/kernel/random/boot_id) exec /bin/cat "$DEVICE/boots" ;;
esac
exec /bin/cat "$@"
""",
    "skiff-status": """
state=ok
case $(cat "$DEVICE/trouble")$(cat "$DEVICE/running") in 'gets worseb') state=fail ;; esac
echo '{"ok": true, "units": {"net": {"state": "'$state'", "text": "no address", "hint": "look"}}}'
""",
    "skiff-slots": """
read -r trouble <"$DEVICE/trouble"
read -r running <"$DEVICE/running"
echo "$1" >>"$DEVICE/asked"
case $1 in
--json)
    echo '{"loader": "uefi", "arch": "amd64", "board": "pc/uefi", "epoch": "5", "signed": false,' \\
        '"no_older": false, "slots": {"a": {"state": "good"}, "b": {"state": "good"}},' \\
        '"running": "'$running'"}'
    ;;
prepare)
    cat >/dev/null
    [ "$trouble" != "has no room" ] || { echo "no room for the slot" >&2; exit 1; }
    mkdir -p "$DEVICE/new"
    printf 'need kernel\\nneed initramfs\\nslot b\\nbasis /\\n'
    ;;
receive)"""
    + RECEIVED
    + """
    [ "$trouble" != "breaks off" ] || exit 1
    exec rsync "$@" "$DEVICE/new/"
    ;;
try)
    [ "$trouble" != "spoils it" ] || { echo "kernel is damaged" >&2; exit 1; }
    echo b >"$DEVICE/next"
    ;;
rollback) echo a >"$DEVICE/next" ;;
confirm) touch "$DEVICE/confirmed" ;;
esac
""",
    "reboot": """
echo again >>"$DEVICE/boots"
read -r trouble <"$DEVICE/trouble"
[ "$trouble" = "does not start" ] || cp "$DEVICE/next" "$DEVICE/running"
""",
}
# By the last number of their address: what goes wrong, and what is said of it.
TROUBLES = {
    12: ("has no room", "no room for the slot"),
    19: ("breaks off", "sending broke off"),
    26: ("spoils it", "kernel is damaged"),
    33: ("does not start", "runs slot a again: b did not start"),
    40: ("gets worse", "is not as well as before: net: no address; root@127.0.0.40 runs slot a again"),
    # It does not listen at all.
    50: ("", "Connection refused"),
}


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """All but the last one of the fleet."""
    folder = tmp_path / "servers"
    for number in range(1, COUNT + 1):
        device = folder / f"devices/127.0.0.{number}"
        device.mkdir(parents=True)
        (device / "running").write_text("a\n")
        (device / "boots").write_text("first\n")
        (device / "trouble").write_text(f"{TROUBLES.get(number, ('none',))[0]}\n")
    with ssh_servers(folder, COUNT - 1, PROGRAMS) as found:
        yield found


@pytest.fixture(autouse=True)
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is pushed: it is not built anew here."""
    made = small_image(tmp_path / "image")
    folder = tmp_path / "slot"
    folder.mkdir()
    disk = DiskPlan("gpt", 16, 64, "uefi")
    write_slot(folder, msgspec.structs.replace(made, disk=disk, board="pc/uefi", epoch=7), tmp_path / "cache")

    @contextmanager
    def slot(source: fleet_push.Source, ui: Ui) -> Iterator[Path]:
        yield folder

    monkeypatch.setattr(fleet_push.Source, "slot", slot)


def push(servers: Servers, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """What became of each device, by the last number of its address."""
    inventory = str(servers.inventory(COUNT))
    assert main(["fleet", "push", "-q", "--json", "-I", inventory, "-j", "25", *words]) == 2
    told = json.loads(capsys.readouterr().out)["devices"]
    return {name.rpartition(".")[2]: one for name, one in told.items()}


def test_fifty_devices_of_which_some_fail(servers: Servers, capsys: pytest.CaptureFixture[str]) -> None:
    devices = {number: servers.folder / f"devices/127.0.0.{number}" for number in range(1, COUNT + 1)}
    for number in (3, 5):
        (devices[number] / "trouble").write_text("has no room\n")
    waves = ("--wave", "1,9,100%", "--max-failures")
    told = push(servers, capsys, *waves, "2")
    states = [told[str(number)]["state"] for number in devices]
    assert states.count("failed") == 2 and set(states[10:]) == {"untried"}
    assert not any((device / "asked").exists() for number, device in devices.items() if number > 10)

    for number in (3, 5):
        (devices[number] / "trouble").write_text("none\n")
    told = push(servers, capsys, *waves, "100%", "--confirm-within", "1")
    failed = {number: one["text"] for number, one in told.items() if one["state"] != "ok"}
    assert failed.keys() == {str(number) for number in TROUBLES}
    assert all(text in failed[str(number)] for number, (_, text) in TROUBLES.items())
    assert [told[number]["wave"] for number in ("1", "2", "10", "11", "50")] == [1, 2, 2, 3, 3]
    for number, device in devices.items():
        # What failed runs what it ran before; only what is well is confirmed.
        assert (device / "running").read_text() == ("a\n" if number in TROUBLES else "b\n")
        assert (device / "confirmed").exists() == (number not in TROUBLES)
