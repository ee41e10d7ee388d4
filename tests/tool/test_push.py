"""Updates from the workstation's side: a stand-in for ssh plays a device, and rsync is the real one."""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import nullcontext
from pathlib import Path

import msgspec
import pytest

from skiff.host.errors import UserError
from skiff.host.files import file_digest, swap_folder
from skiff.host.run import which
from skiff.host.ui import Ui
from skiff.image.slot import write_slot
from skiff.machine.push import Wish, push, restart_only, rollback
from skiff.machine.remote import Remote, device
from skiff.machine.settings import backup, reset
from skiff.model.disk import DiskPlan
from tests.tool.fake_machine import RECEIVED, small_image

# Runs the words meant for the device here, with its programs being those below.
SSH = """
printf '%s\\n' "$*" >>"$ROOT/ssh.log"
# rsync takes the user off the host.
while [ "$1" != root@device ] && [ "$1" != device ]; do shift; done
shift
[ "$1" != -- ] || shift
[ ! -e "$ROOT/alone" ] || ! tail -n 1 "$ROOT/ssh.log" | grep -q ControlMaster=yes || exit 255
[ ! -e "$ROOT/unreachable" ] || { cat "$ROOT/unreachable" >&2; exit 255; }
case $* in
'cat /proc/sys/kernel/random/boot_id') exec cat "$ROOT/boot_id" ;;
'reboot -n') echo again >>"$ROOT/boot_id"; exec cp "$ROOT/after.json" "$ROOT/slots.json" ;;
esac
exec sh -c "$*"
"""
SLOTS = (
    """
echo "$*" >>"$ROOT/slots.log"
[ ! -e "$ROOT/refuses-$1" ] || { cat "$ROOT/refuses-$1" >&2; exit 1; }
case $1 in
--json) cat "$ROOT/slots.json" ;;
prepare) cat >"$ROOT/got"; cat "$ROOT/needs" ;;
receive)"""
    + RECEIVED
    + """
    exec rsync "$@" "$ROOT/new/"
    ;;
rollback) cp "$ROOT/first.json" "$ROOT/after.json" ;;
esac
"""
)
STATUS = {"net": "ok", "slot": "wait"}
UI = Ui(quiet=True)
WISH = Wish(patience=5, confirm_within=1)


class FakeDevice:
    """What the device says, and what was asked of it."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        (root / "bin").mkdir(parents=True)
        (root / "new").mkdir()
        monkeypatch.setenv("ROOT", str(root))
        monkeypatch.setenv("PATH", f"{root / 'bin'}:/usr/bin:/bin")
        self.program("ssh", SSH)
        self.program("skiff-slots", SLOTS)
        self.program(
            "skiff-status",
            'cat "$ROOT/status.json"; [ ! -e "$ROOT/then.json" ] || mv "$ROOT/then.json" "$ROOT/status.json"',
        )
        (root / "boot_id").write_text("first\n")
        self.slots("slots", "a")
        self.slots("first", "a")
        self.slots("after", "b")
        self.status("status", STATUS)
        self.needs("kernel", "initramfs")

    def program(self, name: str, body: str) -> None:
        path = self.root / "bin" / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def slots(self, name: str, running: str, **changes: object) -> None:
        slot = {"state": "good"}
        facts = {"loader": "uefi", "arch": "amd64", "board": "pc/uefi", "epoch": "5", "signed": False}
        facts |= {"no_older": False, "slots": {"a": slot, "b": slot}, "running": running, **changes}
        (self.root / f"{name}.json").write_text(json.dumps(facts))

    def status(self, name: str, states: dict[str, str]) -> None:
        units = {
            unit: {"state": state, "text": f"{unit} is {state}", "hint": ""} for unit, state in states.items()
        }
        (self.root / f"{name}.json").write_text(json.dumps({"ok": True, "units": units}))

    def becomes(self, when: str, states: dict[str, str]) -> None:
        """How the device is from this step of skiff-slots on."""
        self.status("becomes", states)
        self.program(
            "skiff-slots", f'[ "$1" != {when} ] || cp "$ROOT/becomes.json" "$ROOT/status.json"\n{SLOTS}'
        )

    def needs(self, *names: str) -> None:
        lines = [*(f"need {name}" for name in names), "slot b", f"basis {self.root}/a/"]
        (self.root / "needs").write_text("".join(f"{line}\n" for line in lines))

    @property
    def asked(self) -> list[str]:
        log = self.root / "slots.log"
        return [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []

    @property
    def remote(self) -> Remote:
        return device("device", None, None)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    if which("rsync") is None:
        pytest.skip("needs the program rsync")
    return FakeDevice(tmp_path / "device", monkeypatch)


@pytest.fixture
def slot(tmp_path: Path) -> Path:
    plan = DiskPlan("gpt", 16, 64, "uefi")
    image = msgspec.structs.replace(small_image(tmp_path / "image"), disk=plan, board="pc/uefi", epoch=7)
    folder = tmp_path / "slot"
    folder.mkdir()
    write_slot(folder, image, tmp_path / "cache")
    return folder


def test_an_update_in_order(fake: FakeDevice, slot: Path) -> None:
    done = push(fake.remote, slot, WISH, UI)
    assert fake.asked == ["--json", "prepare", "receive", "try", "--json", "check", "confirm"]
    assert (fake.root / "got").read_bytes() == (slot / "manifest").read_bytes()
    assert (fake.root / "new/initramfs").read_text() == "an initramfs"
    assert (done.slot, done.bytes) == ("b", len("a kernel" + "an initramfs"))
    assert done.sent > done.bytes
    assert "try 3 1" in (fake.root / "slots.log").read_text()


def test_an_image_that_is_built_meanwhile_is_not_sent(fake: FakeDevice, slot: Path) -> None:
    new = small_image(slot.with_name("new"))
    for artefact in new.artefacts:
        artefact.path.write_text("of another build")
    swap_folder(slot.with_name("new"), slot.with_name("image"))
    push(fake.remote, slot, WISH, UI)
    sums = [line.split() for line in (fake.root / "got").read_text().splitlines() if line.startswith("file ")]
    assert {name: file_digest(fake.root / "new" / name) for *_, name in sums} == {
        name: sha256 for _, sha256, _, name in sums
    }


def test_commands_share_a_connection_before_the_restart_and_one_after_it(
    fake: FakeDevice, slot: Path
) -> None:
    push(fake.remote, slot, WISH, UI)
    lines = (fake.root / "ssh.log").read_text().splitlines()
    assert sum("ControlMaster=yes" in line for line in lines) == 2
    # The restart takes a shared connection along, so it and the wait for an answer have none.
    alone = [line.split(" -- ")[1] for line in lines if "ControlPath" not in line]
    asks = "cat /proc/sys/kernel/random/boot_id"
    assert alone == [asks, "reboot -n", asks]
    paths = {word for line in lines for word in line.split() if word.startswith("ControlPath=")}
    assert len(paths) == 2
    assert not any(Path(path.partition("=")[2]).parent.exists() for path in paths)


def test_a_server_that_lets_nothing_be_shared_is_updated_too(fake: FakeDevice, slot: Path) -> None:
    (fake.root / "alone").touch()
    push(fake.remote, slot, WISH, UI)
    assert fake.asked[-1] == "confirm"


@pytest.mark.parametrize("path", ["/it's here", '/the "new" one', "/a b", "/'a' 'b'"])
def test_words_of_ssh_reach_it_by_way_of_rsync(fake: FakeDevice, slot: Path, path: str) -> None:
    push(device("device", key=Path(path)), slot, WISH, UI)
    sent = next(line for line in (fake.root / "ssh.log").read_text().splitlines() if "receive" in line)
    assert f"-i {path} -l root device" in sent


def test_nothing_is_sent_twice(fake: FakeDevice, slot: Path) -> None:
    fake.needs()
    done = push(fake.remote, slot, WISH, UI)
    assert "receive" not in fake.asked
    assert done.sent == (slot / "manifest").stat().st_size


def test_what_the_running_slot_has_is_built_on(fake: FakeDevice, slot: Path) -> None:
    large = bytes(range(256)) * 4000
    (slot / "initramfs").unlink()
    (slot / "initramfs").write_bytes(large + b"the end")
    fake.needs("initramfs")
    (fake.root / "a").mkdir()
    (fake.root / "a/initramfs").write_bytes(large)
    done = push(fake.remote, slot, WISH, UI)
    assert (fake.root / "new/initramfs").read_bytes() == large + b"the end"
    assert done.sent < len(large) / 20


@pytest.mark.parametrize(
    ("state", "same", "again", "left_alone"),
    [
        ("good", True, False, True),
        ("good", True, True, False),
        # Given up, or not confirmed: it would not run any more after a restart.
        ("spare", True, False, False),
        ("trial", True, False, False),
        ("good", False, False, False),
    ],
)
def test_a_device_that_runs_it_already_is_left_alone(
    fake: FakeDevice, slot: Path, state: str, same: bool, again: bool, left_alone: bool
) -> None:
    sums = file_digest(slot / "manifest") if same else "0" * 64
    slots = {"a": {"state": state, "manifest": sums}, "b": {"state": "spare", "manifest": sums}}
    fake.slots("slots", "a", slots=slots)
    done = push(fake.remote, slot, msgspec.structs.replace(WISH, again=again), UI)
    assert done.already == left_alone
    assert (done.slot, fake.asked) == ("a", ["--json"]) if left_alone else fake.asked[-1] == "confirm"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"arch": "arm64"}, "another arch: amd64, not arm64"),
        ({"board": "odroid/h3"}, "another board: pc/uefi, not odroid/h3"),
        ({"signed": True}, "takes signed images only"),
        ({"no_older": True, "epoch": "8"}, "no older image"),
    ],
)
def test_what_the_device_would_refuse_is_not_sent(
    fake: FakeDevice, slot: Path, change: dict[str, object], says: str
) -> None:
    fake.slots("slots", "a", **change)
    with pytest.raises(UserError, match=says):
        push(fake.remote, slot, WISH, UI)
    assert fake.asked == ["--json"]


def test_what_the_device_says_is_passed_on(fake: FakeDevice, slot: Path) -> None:
    (fake.root / "refuses-try").write_text("skiff-slots: not whole: initramfs (push again)\n")
    with pytest.raises(UserError, match="not whole: initramfs"):
        push(fake.remote, slot, WISH, UI)
    assert (fake.root / "boot_id").read_text() == "first\n"


def test_a_system_without_slots(fake: FakeDevice, slot: Path) -> None:
    (fake.root / "bin/skiff-slots").unlink()
    with pytest.raises(UserError, match="knows no updates"):
        push(fake.remote, slot, WISH, UI)


def test_a_device_that_fell_back_by_itself(fake: FakeDevice, slot: Path) -> None:
    fake.slots("after", "a")
    with pytest.raises(UserError, match="runs slot a again: b did not start"):
        push(fake.remote, slot, WISH, UI)
    assert "confirm" not in fake.asked


def test_a_device_that_cannot_tell_its_slots_after_the_restart(fake: FakeDevice, slot: Path) -> None:
    says = "skiff-slots: no boot partition was found"
    fake.program("skiff-slots", f'[ "$1" != try ] || echo "{says}" >"$ROOT/refuses---json"\n{SLOTS}')
    with pytest.raises(UserError, match=f"{says}; slot b is not confirmed") as caught:
        push(fake.remote, slot, WISH, UI)
    assert "slot a" in caught.value.hint and "confirm" not in fake.asked


@pytest.mark.parametrize("state", ["fail", "wait"])
def test_a_device_that_is_less_well_goes_back(fake: FakeDevice, slot: Path, state: str) -> None:
    fake.status("then", {**STATUS, "net": state})
    with pytest.raises(UserError, match=f"net is {state}; .* runs slot a again"):
        push(fake.remote, slot, WISH, UI)
    assert fake.asked[-1] == "rollback" and "confirm" not in fake.asked
    # Once into the new slot, once back.
    assert (fake.root / "boot_id").read_text().count("again") == 2


def test_what_warns_with_it_is_told(fake: FakeDevice, slot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake.status("status", {**STATUS, "clock": "warn", "swap": "ok"})
    fake.status("then", {**STATUS, "clock": "warn", "swap": "warn", "wifi": "warn"})
    done = push(fake.remote, slot, WISH, UI)
    assert done.warnings == {"swap": "swap is warn", "wifi": "wifi is warn"}
    assert "device: with slot b, swap: swap is warn\n" in capsys.readouterr().err
    assert fake.asked[-1] == "confirm"


def test_what_fails_while_its_checks_run_counts(fake: FakeDevice, slot: Path) -> None:
    fake.becomes("check", {**STATUS, "net": "fail"})
    with pytest.raises(UserError, match="not as well as before: net"):
        push(fake.remote, slot, WISH, UI)
    assert fake.asked[-1] == "rollback" and "confirm" not in fake.asked


def test_what_was_starting_before_must_not_fail_after(fake: FakeDevice, slot: Path) -> None:
    fake.status("status", {**STATUS, "engine": "wait"})
    fake.becomes("try", {**STATUS, "engine": "fail"})
    with pytest.raises(UserError, match="not as well as before: engine"):
        push(fake.remote, slot, msgspec.structs.replace(WISH, settle=0), UI)
    assert fake.asked[-1] == "rollback" and "confirm" not in fake.asked


@pytest.mark.parametrize("way", ["push", "rollback"])
def test_what_is_starting_is_up_before_it_is_compared_with(fake: FakeDevice, slot: Path, way: str) -> None:
    fake.status("status", {**STATUS, "engine": "wait"})
    fake.status("then", {**STATUS, "engine": "ok"})
    fake.becomes("try" if way == "push" else "rollback", {**STATUS, "engine": "wait"})
    (fake.root / "first.json").write_text((fake.root / "after.json").read_text())
    with pytest.raises(UserError, match="not as well as before: engine"):
        push(fake.remote, slot, WISH, UI) if way == "push" else rollback(fake.remote, WISH, UI)
    assert fake.asked[-1] == "rollback" and "confirm" not in fake.asked


def test_what_waits_for_ever_may_wait_after(fake: FakeDevice, slot: Path) -> None:
    fake.status("status", {**STATUS, "mdns": "wait"})
    assert push(fake.remote, slot, msgspec.structs.replace(WISH, settle=0), UI).slot == "b"
    assert fake.asked[-1] == "confirm"


def test_what_failed_before_may_fail_after(fake: FakeDevice, slot: Path) -> None:
    fake.status("status", {**STATUS, "net": "fail"})
    assert push(fake.remote, slot, WISH, UI).slot == "b"


def test_a_check_of_the_owner_s(fake: FakeDevice, slot: Path) -> None:
    (fake.root / "refuses-check").write_text("skiff-slots: check pump failed: it is off\n")
    with pytest.raises(UserError, match="it is off"):
        push(fake.remote, slot, WISH, UI)
    assert fake.asked[-1] == "rollback"


def test_a_way_back(fake: FakeDevice) -> None:
    (fake.root / "first.json").write_text((fake.root / "after.json").read_text())
    assert rollback(fake.remote, WISH, UI).slot == "b"
    assert fake.asked == ["--json", "rollback", "--json", "check", "confirm"]


def test_a_device_out_of_reach(fake: FakeDevice, slot: Path) -> None:
    (fake.root / "unreachable").write_text("no route\n")
    with pytest.raises(UserError, match="not reached over SSH: no route") as caught:
        push(fake.remote, slot, WISH, UI)
    assert "keys/id_ed25519" not in caught.value.hint


def test_a_device_that_knows_no_key_of_ours(fake: FakeDevice, tmp_path: Path) -> None:
    # The workspace's own key is in its image, and ssh does not try it by itself.
    (fake.root / "unreachable").write_text("root@device: Permission denied (publickey).\n")
    with pytest.raises(UserError, match="Permission denied") as caught:
        rollback(fake.remote, WISH, UI)
    assert "-i workspaces/NAME/keys/id_ed25519" in caught.value.hint
    with pytest.raises(UserError, match=r"not reached over SSH: .*Permission denied") as caught:
        backup(fake.remote, tmp_path / "attic.tar")
    assert "-i workspaces/NAME/keys/id_ed25519" in caught.value.hint


@pytest.mark.parametrize(
    ("says", "answers"),
    [("Host key verification failed.", True), ("ssh: connect to host device: Connection refused", False)],
)
def test_a_device_that_was_reset_shows_another_host_key(fake: FakeDevice, says: str, answers: bool) -> None:
    fake.program("skiff-settings", 'echo "$*" >"$ROOT/settings.log"')
    fake.program("ssh", SSH.replace("'reboot -n')", f"'reboot -n') echo '{says}' >\"$ROOT/unreachable\";"))
    with nullcontext() if answers else pytest.raises(UserError, match="does not answer again"):
        reset(fake.remote, patience=2)
    assert (fake.root / "settings.log").read_text() == "reset\n"


def test_a_device_that_refuses_to_restart(fake: FakeDevice, slot: Path) -> None:
    fake.program("ssh", SSH.replace("'reboot -n')", "'reboot -n') echo 'reboot: no permission' >&2; exit 1;"))
    with pytest.raises(UserError, match="device: not restarted: reboot: no permission"):
        push(fake.remote, slot, WISH, UI)


@pytest.mark.parametrize("lost", [2, 99])
def test_without_an_answer_before_it_no_restart_is_told(fake: FakeDevice, lost: int) -> None:
    asks = "'cat /proc/sys/kernel/random/boot_id')"
    counted = (
        f'echo >>"$ROOT/asks"; [ -e "$ROOT/ordered" ] || [ "$(wc -l <"$ROOT/asks")" -gt {lost} ] || exit 255;'
    )
    ordered = "'reboot -n') touch \"$ROOT/ordered\";" + (" exit 255;" if lost == 99 else "")
    fake.program("ssh", SSH.replace(asks, f"{asks} {counted}").replace("'reboot -n')", ordered))
    refused = pytest.raises(UserError, match="no answer before the restart")
    with refused if lost == 99 else nullcontext():
        restart_only(fake.remote, time.monotonic() + 5)
    assert (fake.root / "ordered").exists() == (lost == 2)


def test_a_signature_over_the_manifest(fake: FakeDevice, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    image = msgspec.structs.replace(
        small_image(tmp_path / "image"), disk=DiskPlan("gpt", 16, 64, "uefi"), board="pc/uefi"
    )
    folder = tmp_path / "slot"
    folder.mkdir()
    write_slot(folder, image, tmp_path / "cache", key)
    fake.slots("slots", "a", signed=True)
    push(fake.remote, folder, WISH, UI)
    got = (fake.root / "got").read_text()
    assert got.startswith("skiff-slot 1\n") and got.endswith("-----END SSH SIGNATURE-----\n")
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match=r"cannot sign with it: [^\[]"):
        write_slot(tmp_path / "other", image, tmp_path / "cache", tmp_path / "none")
