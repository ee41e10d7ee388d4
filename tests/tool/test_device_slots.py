"""Slots of the boot partition: what is taken, tried, confirmed and given up, on UEFI and with U-Boot."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from skiff.host.files import file_digest
from tests.tool.device import Device

SECTOR = 16 * 512
FILES = {"kernel": b"a new kernel", "initramfs": b"a new initramfs " * 1000, "dtbs/v/one.dtb": b"a tree"}
# Instead of a disk the tests have a folder; what a remount would read back is the folder itself.
STUBS = """
boot_find() { BOOT_DEV=boot; }
boot_mount() { boot_loader; }
boot_umount() { :; }
boot_repair() { :; }
sync() { :; }
pause() { :; }
sv() { cat "$2/supervise/said"; }
"""


class Slots:
    """A machine that was started from a slot, and its boot partition."""

    def __init__(self, device: Device, loader: str, running: str = "a") -> None:
        self.device = device
        self.loader = loader
        self.boot = device.root / "run/skiff/boot"
        self.run_from(running)
        device.put("etc/skiff/arch", "amd64\n")
        device.put("etc/skiff/board", "pc/uefi\n")
        device.put("etc/skiff/epoch", "2000\n")
        device.put("dev/boot", bytes(17 * 512))
        if loader == "uefi":
            device.put("run/skiff/boot/loader/loader.conf", "timeout 0\n")
            self.entry("skiff-a.conf", 1)
        else:
            device.put("run/skiff/boot/boot.scr", "a script")
            self.state(b"a\xff")
        self.fill("a", {**FILES, "initramfs": b"an old initramfs"})

    def run_from(self, slot: str) -> None:
        # A start begins with nothing in RAM.
        (self.device.root / "run/skiff/slot.ordered").unlink(missing_ok=True)
        self.device.cmdline(f"quiet skiff.slot={slot}")

    def fill(self, slot: str, files: dict[str, bytes]) -> None:
        for name, data in files.items():
            self.device.put(f"run/skiff/boot/{slot}/{name}", data)
        self.device.put(f"run/skiff/boot/{slot}/manifest", self.manifest(files))

    def manifest(self, files: dict[str, bytes] | None = None, /, **changes: str) -> str:
        values = {"arch": "amd64", "board": "pc/uefi", "loader": self.loader, "version": "2000"}
        values |= {"image": "1" * 64, "layers": "base pc/uefi", "cmdline": "quiet panic=10", **changes}
        lines = ["skiff-slot 1", *(f"{word} {value}" for word, value in values.items())]
        for name, data in (FILES if files is None else files).items():
            lines.append(f"file {hashlib.sha256(data).hexdigest()} {len(data)} {name}")
        return "".join(f"{line}\n" for line in lines)

    def entry(self, name: str, version: int) -> None:
        self.device.put(f"run/skiff/boot/loader/entries/{name}", f"title x\nversion {version}\n")

    @property
    def entries(self) -> list[str]:
        return sorted(path.name for path in (self.boot / "loader/entries").iterdir())

    def state(self, state: bytes) -> None:
        path = self.device.root / "dev/boot"
        data = bytearray(path.read_bytes())
        data[SECTOR : SECTOR + 512] = (b"SKIFFST1" + state).ljust(512, b"\0")
        path.write_bytes(data)

    def has_state(self) -> bytes:
        data = (self.device.root / "dev/boot").read_bytes()[SECTOR : SECTOR + 512]
        assert data[:8] == b"SKIFFST1" and len(data) == 512
        return data[8:].rstrip(b"\0")

    def call(self, function: str, input: str = "") -> subprocess.CompletedProcess[str]:
        names = ("persist-find", "slots", "update", "status")
        script = "".join(f'. "$SKIFF_ROOT/usr/lib/skiff/{name}.sh"\n' for name in ("lib", *names))
        return subprocess.run(
            [self.device.busybox, "sh", "-c", f"{script}{STUBS}{function}"],
            env={"PATH": "/usr/bin:/bin", "SKIFF_ROOT": str(self.device.root)},
            input=input,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def does(self, function: str, input: str = "") -> list[str]:
        done = self.call(function, input)
        assert (done.returncode, done.stderr) == (0, ""), done
        assert not (self.device.root / "run/skiff/slots.lock").exists()
        return done.stdout.splitlines()

    def refuses(self, function: str, input: str = "") -> str:
        done = self.call(function, input)
        assert done.returncode == 1, done
        assert not (self.device.root / "run/skiff/slots.lock").exists()
        return done.stderr

    def send(self) -> None:
        for name, data in FILES.items():
            self.device.put(f"run/skiff/boot/new/{name}", data)

    def write(self) -> None:
        self.does("slots_prepare", self.manifest())
        self.send()

    def seen(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads("\n".join(self.does("slots_json")))
        return answer

    def states(self) -> tuple[str, str]:
        slots = self.seen()["slots"]
        return slots["a"]["state"], slots["b"]["state"]


@pytest.fixture(params=["uefi", "uboot"])
def slots(request: pytest.FixtureRequest, device: Device) -> Slots:
    return Slots(device, request.param)


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


def test_what_an_interruption_left_is_built_on(slots: Slots) -> None:
    slots.does("slots_prepare", slots.manifest())
    slots.device.put("run/skiff/boot/new/.initramfs.Xy12Zz", FILES["initramfs"][:7000])
    assert "need initramfs" in slots.does("slots_prepare", slots.manifest())
    assert (slots.boot / "new/initramfs").read_bytes() == FILES["initramfs"][:7000] + b"an old initramfs"
    assert slots.does("slots_prepare", slots.manifest(version="2001"))[0] == "need initramfs"
    assert not (slots.boot / "new/initramfs").exists()


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
    assert slots.entries == ["skiff-a.conf"] if slots.loader == "uefi" else slots.has_state() == b"a\x05g"


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
        assert slots.has_state() == b"a\x05g"


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
