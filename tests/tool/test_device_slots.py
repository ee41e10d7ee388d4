"""Slots of the boot partition: what is taken, how it is written, and what the device's own checks are."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from skiff.host.files import file_digest
from tests.tool.device import Device
from tests.tool.device_slots import FILES, Slots


def test_a_new_disk(slots: Slots) -> None:
    seen = slots.seen()
    assert (seen["running"], seen["loader"], seen["signed"]) == ("a", slots.loader, False)
    assert slots.states() == ("good", "empty")
    # What tells an image from any other.
    assert seen["slots"]["a"]["manifest"] == file_digest(slots.boot / "a/manifest")
    assert seen["slots"]["b"]["manifest"] == ""
    assert slots.does("slots_started") == ["good a"]
    assert slots.does("slots_list")[0].startswith("* a  good, packages of 1970-01-01, layers base pc/uefi")


def test_only_what_differs_is_asked_for(slots: Slots) -> None:
    told = slots.does("slots_prepare", slots.manifest())
    assert told == ["need initramfs", "slot b", f"basis {slots.boot}/a/"]
    assert (slots.boot / "new/dtbs/v/one.dtb").read_bytes() == FILES["dtbs/v/one.dtb"]
    slots.send()
    assert slots.does("slots_prepare", slots.manifest()) == ["slot b", f"basis {slots.boot}/a/"]


def test_what_is_damaged_where_it_would_be_copied_from_is_asked_for(slots: Slots) -> None:
    (slots.boot / "a/dtbs/v/one.dtb").write_bytes(b"a tref")
    needs = slots.does("slots_prepare", slots.manifest())
    assert "need dtbs/v/one.dtb" in needs
    assert not (slots.boot / "new/dtbs/v/one.dtb").exists()
    (slots.boot / "a/dtbs/v/one.dtb").unlink()
    assert slots.does("slots_prepare", slots.manifest()) == needs


def test_what_an_interruption_left_is_built_on(slots: Slots) -> None:
    slots.does("slots_prepare", slots.manifest())
    slots.device.put("run/skiff/boot/new/.initramfs.Xy12Zz", FILES["initramfs"][:7000])
    assert "need initramfs" in slots.does("slots_prepare", slots.manifest())
    assert (slots.boot / "new/initramfs").read_bytes() == FILES["initramfs"][:7000] + b"an old initramfs"
    assert slots.does("slots_prepare", slots.manifest(version="2001"))[0] == "need initramfs"
    assert not (slots.boot / "new/initramfs").exists()


def test_a_slot_being_written_is_never_started(slots: Slots) -> None:
    slots.write()
    slots.does("slots_try 3 200")
    slots.run_from("b")
    slots.does("slots_confirm")
    slots.does("slots_prepare", slots.manifest(version="2001"))
    assert not (slots.boot / "a").exists()
    assert slots.states() == ("empty", "good")
    if slots.loader == "uefi":
        assert slots.entries == ["skiff-b.conf"]


def test_a_damaged_file_is_noticed_before_the_trial(slots: Slots) -> None:
    slots.write()
    (slots.boot / "new/initramfs").write_bytes(FILES["initramfs"][:-1] + b"!")
    assert "not whole: initramfs" in slots.refuses("slots_try 3 200")
    (slots.boot / "new/initramfs").unlink()
    assert "not whole" in slots.refuses("slots_try 3 200")
    assert slots.states() == ("good", "empty")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"arch": "arm64"}, "for another arch: arm64, not amd64"),
        ({"board": "odroid/c4"}, "for another board"),
        ({"loader": "none"}, "for another bootloader"),
    ],
)
def test_an_image_for_another_machine(slots: Slots, change: dict[str, str], says: str) -> None:
    assert says in slots.refuses("slots_prepare", slots.manifest(None, **change))
    assert not (slots.boot / "new").exists()


@pytest.mark.parametrize("name", ["../a/kernel", "/etc/passwd", "a;b", "a b"])
def test_a_name_that_leads_elsewhere(slots: Slots, name: str) -> None:
    assert "leads elsewhere" in slots.refuses("slots_prepare", slots.manifest({"kernel": b"", name: b""}))


def test_older_ones_only_where_that_is_allowed(slots: Slots) -> None:
    slots.does("slots_prepare", slots.manifest(version="1999"))
    slots.device.put("etc/skiff/no-older", "")
    assert "older" in slots.refuses("slots_prepare", slots.manifest(version="1999"))
    slots.does("slots_prepare", slots.manifest(version="2000"))


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs the program ssh-keygen")
def test_a_device_with_signers_takes_nothing_else(slots: Slots, tmp_path: Path) -> None:
    def signed(name: str, namespace: str = "skiff-image", text: str | None = None) -> str:
        file = tmp_path / "manifest"
        file.write_text(text or slots.manifest())
        key = tmp_path / name
        if not key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        (tmp_path / "manifest.sig").unlink(missing_ok=True)
        subprocess.run(
            ["ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", namespace, file],
            check=True,
            capture_output=True,
        )
        return slots.manifest() + (tmp_path / "manifest.sig").read_text()

    good, other = signed("mine"), signed("theirs")
    slots.device.put("etc/skiff/signers", f"me@home {(tmp_path / 'mine.pub').read_text()}")
    assert slots.seen()["signed"] is True
    assert "not signed" in slots.refuses("slots_prepare", slots.manifest())
    assert "none of this device's signers" in slots.refuses("slots_prepare", other)
    assert "none of" in slots.refuses("slots_prepare", signed("mine", namespace="file"))
    assert "none of" in slots.refuses("slots_prepare", signed("mine", text=slots.manifest(version="1")))
    slots.does("slots_prepare", good)
    slots.send()
    # Changed after it was accepted.
    slots.device.put("run/skiff/boot/new/manifest", slots.manifest(version="7"))
    assert "none of" in slots.refuses("slots_try 3 200")


def test_tries_of_a_good_slot_are_given_back(device: Device) -> None:
    slots = Slots(device, "uboot")
    slots.state(b"a\x02g")
    slots.does("slots_well")
    assert slots.has_state() == b"a\x05g"
    slots.state(b"a\xff")
    slots.does("slots_well")
    assert slots.has_state() == b"a\xff"


def test_a_good_slot_of_uefi_that_did_not_start_is_left_alone(device: Device) -> None:
    slots = Slots(device, "uefi")
    slots.fill("b", FILES)
    slots.entry("skiff-b.conf", 2)
    assert slots.does("slots_started") == ["second a b"]
    slots.does("slots_well")
    assert slots.entries == ["skiff-a.conf", "skiff-b+0-1.conf"]
    assert slots.states() == ("good", "bad")


def test_a_safe_start_is_for_once(slots: Slots) -> None:
    slots.does("slots_safe")
    assert slots.has_state()[3:] == b"s"
    taken = "boot_find; if state_takes_safe; then echo safe; else echo usual; fi"
    assert slots.does(taken) == ["safe"]
    assert slots.does(taken) == ["usual"]


def test_one_update_at_a_time(slots: Slots) -> None:
    slots.device.put("run/skiff/slots.lock/pid", "7\n")
    slots.device.put("proc/7/stat", "")
    done = slots.call("pause() { :; }; slots_json")
    assert done.returncode == 1 and "an update is being written" in done.stderr
    shutil.rmtree(slots.device.root / "proc/7")
    # Its owner is gone.
    slots.does("slots_json")


def test_a_system_from_elsewhere(slots: Slots) -> None:
    slots.device.cmdline("quiet")
    assert "not started from a slot" in slots.refuses("slots_json")


def test_own_checks(slots: Slots) -> None:
    slots.does("slots_check")
    slots.device.put("etc/skiff/checks/10-fine", "#!/bin/sh\ntrue\n").chmod(0o755)
    slots.device.put("mnt/persist/skiff/checks/notes", "no program")
    slots.does("slots_check")
    slots.device.put("mnt/persist/skiff/checks/20-bad", "#!/bin/sh\necho the pump is off\nfalse\n").chmod(
        0o755
    )
    assert "check 20-bad failed: the pump is off" in slots.refuses("slots_check")


def test_a_service_that_does_not_stay_up(slots: Slots) -> None:
    def process(pid: int, parent: int, since: float) -> None:
        fields = " ".join(["0"] * 17)
        slots.device.put(f"proc/{pid}/stat", f"{pid} (a b) S {parent} {fields} {since * 100:.0f} 0\n")

    def service(name: str, state: str, pid: int, since: float = 0, runsv: int = 1) -> None:
        slots.device.put(f"etc/service/{name}/supervise/stat", f"{state}\n")
        slots.device.put(f"etc/service/{name}/supervise/pid", f"{pid}\n")
        process(pid, runsv, since)

    slots.device.put("proc/uptime", "30.25 11.00\n")
    process(1, 0, 12)
    process(2, 0, 28.5)
    service("pump", "run", 7, 12.5)
    service("valve", "down", 8)
    slots.device.put("etc/service/valve/supervise/said", "down: valve: 20s, normally up")
    service("spare", "run", 9, 30)
    slots.device.put("etc/service/spare/idle", "")
    # It came late, and has been up ever since.
    service("late", "run", 12, 29, runsv=2)
    slots.does("pause() { false; }\nslots_check")
    # Started anew for a reason: that is waited for.
    service("sensor", "run", 10, 29)
    slots.does('pause() { echo "$((31 + turns)).25 0" >"$PROC/uptime"; }\nslots_check')
    assert slots.device.read("proc/uptime").startswith("32")
    # It ends every other second; at some looks it is up, at some it is between two starts.
    service("sensor", "down", 10)
    slots.device.put("etc/service/sensor/supervise/said", "down: sensor: 0s, normally up, want up")
    again = """pause() {
        echo "$((31 + turns)).25 0" >"$PROC/uptime"
        echo "11 (a b) S 1 $(seq -s ' ' 17) $((30 + turns))00 0" >"$PROC/11/stat"
        echo 11 >"$ETC/service/sensor/supervise/pid"
        echo "run: sensor: (pid 11) 0s" >"$ETC/service/sensor/supervise/said"
        case $((turns % 2)) in
        0) echo run >"$ETC/service/sensor/supervise/stat" ;;
        *) echo down >"$ETC/service/sensor/supervise/stat" ;;
        esac
    }
    """
    (slots.device.root / "proc/11").mkdir()
    assert "the service sensor does not stay up" in slots.refuses(f"{again}slots_check")
