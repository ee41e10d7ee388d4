"""The guard: what counts as an answer of SSH, and which step follows which."""

from __future__ import annotations

import pytest

from tests.tool.device import Device

STUBS = """
. "$LIB/slots.sh"
. "$LIB/guard.sh"
sv() { echo "sv $*"; }
reboot() { echo "reboot $*"; }
slots() { echo "slots $*"; }
ssh_pristine() { echo pristine; }
"""
# A line of /proc/net/tcp: local address, remote one, state (01 established, 0A listening).
LINE = " {n}: 0100007F:{port} 0200007F:1F90 {state} 00000000:{queue}\n"


@pytest.fixture
def guarded(device: Device) -> Device:
    device.put("proc/uptime", "100.00 1.00\n")
    device.cmdline("quiet skiff.slot=b")
    device.says('report persist ok "/dev/vda2"')
    return device


def connections(device: Device, count: int, *, state: str = "0A", waiting: int = 0) -> None:
    lines = [LINE.format(n=0, port="0016", state=state, queue=f"{waiting:08X}")]
    lines += [LINE.format(n=1, port="1F90", state="0A", queue="00000007")]
    lines += [LINE.format(n=2 + n, port="0016", state="01", queue="00000000") for n in range(count)]
    device.put("proc/net/tcp", "  sl local rem st\n" + "".join(lines))


@pytest.mark.parametrize(
    ("answer", "strangers", "well"),
    [
        ("printf 'SSH-2.0-x\\r\\n'", 0, "yes"),
        # Nobody there, or somebody who hangs up.
        ("false", 0, "no"),
        # It turns newcomers away because strangers keep it busy: no restart helps.
        ("false", 5, "yes"),
        # It takes connections and says nothing, however many there are.
        ("echo '111.00 1.00' >\"$PROC/uptime\"", 5, "no"),
    ],
)
def test_an_answer(guarded: Device, answer: str, strangers: int, well: str) -> None:
    connections(guarded, strangers)
    script = f"{STUBS}timeout() {{ {answer}; }}\nif ssh_is_well; then echo yes; else echo no; fi"
    assert guarded.says(script) == well


@pytest.mark.parametrize(
    ("look", "state", "waiting", "asked"),
    [(0, "0A", 0, True), (1, "0A", 0, False), (5, "0A", 0, True), (1, "0A", 2, True), (1, "06", 0, True)],
)
def test_the_server_is_asked_now_and_then_and_when_it_looks_odd(
    guarded: Device, look: int, state: str, waiting: int, asked: bool
) -> None:
    connections(guarded, 0, state=state, waiting=waiting)
    script = f"{STUBS}ssh_is_well() {{ echo asked; }}\nssh_looks_well {look} && echo well"
    assert guarded.says(script).split() == (["asked", "well"] if asked else ["well"])


def test_steps(guarded: Device) -> None:
    told = guarded.sh(f"{STUBS}for n in 1 2 3 4 5 6 7 8 9 10 15; do guard_step $n; done").stdout.splitlines()
    assert told == ["pristine", "slots safe", "reboot -n", "reboot -n -f"]
    assert guarded.status("guard")[0] == "fail"


def test_a_system_without_slots_is_not_restarted_again_and_again(guarded: Device) -> None:
    guarded.cmdline("quiet")
    told = guarded.sh(f"{STUBS}for n in 3 6 9 12 15; do guard_step $n; done").stdout.splitlines()
    assert told == ["pristine"]
    assert guarded.status("guard")[0] == "fail"
    assert "not started from a slot" in guarded.status("guard")[1]


def test_a_disk_that_hangs_does_not_take_the_guard_along(guarded: Device) -> None:
    # It waits for its disk until that answers.
    fake = """#!/bin/sh
echo "$*" >>"$SKIFF_ROOT/told"
for n in $(seq 100); do [ -e "$SKIFF_ROOT/go" ] || sleep 0.1; done
echo "$1, ended"
exit 3
"""
    guarded.put("fake/skiff-slots", fake).chmod(0o755)
    hangs = """
PATH="$SKIFF_ROOT/fake:$PATH"
. "$LIB/slots.sh"
. "$LIB/guard.sh"
reboot() { echo "reboot $*"; }
"""
    # Neither while it is asked how the start went, nor by what comes before a restart.
    told = guarded.sh(f'{hangs}SLOTS_PATIENCE=1\necho "<$(slots started)>"\nguard_step 9')
    assert told.stdout.splitlines() == ["<>", "reboot -n"]
    # Whoever waits for the disk is one alone.
    assert guarded.read("told") == "started\n"
    guarded.put("go", "")
    again = 'while [ -e "$RUN/guard.asks" ]; do pause 0.1; done; slots well; echo $?'
    assert guarded.says(f"{hangs}{again}") == "well, ended\n3"


def test_a_new_guard_waits_for_no_question_of_the_one_before(guarded: Device) -> None:
    guarded.put("run/skiff/guard.asks", "")
    guarded.put("fake/skiff-slots", "#!/bin/sh\necho good b\n").chmod(0o755)
    once = """
PATH="$SKIFF_ROOT/fake:$PATH"
. "$LIB/slots.sh"
. "$LIB/guard.sh"
guard_start() { slots started; exit; }
guard_loop
"""
    assert guarded.says(once) == "good b"


@pytest.mark.parametrize(
    ("uptime", "persist", "looked"), [(20, "wait", ""), (20, "ok", "yes"), (70, "wait", "yes")]
)
def test_the_disk_is_left_alone_while_its_partitions_are_made(
    guarded: Device, uptime: int, persist: str, looked: str
) -> None:
    guarded.put("proc/uptime", f"{uptime}.00 1.00\n")
    begun = f'{STUBS}report persist {persist} "x"\nSTARTED=\nslots() {{ echo good b; }}\nguard_start\n'
    assert guarded.says(f"{begun}echo $STARTED") == looked
    # A look that came to nothing is repeated.
    assert guarded.says(f"{begun}STARTED=\nslots() {{ false; }}\nguard_start\necho $STARTED") == ""


def trial(device: Device, then: str) -> list[str]:
    begun = f"{STUBS}slots() {{ echo trial b 200; }}\nguard_start\nslots() {{ :; }}\n"
    done = device.sh(begun + then)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_trial_without_confirmation_ends(guarded: Device) -> None:
    assert trial(guarded, "trial_watch") == []
    assert guarded.status("slot")[0] == "wait"
    assert trial(guarded, 'echo "299.00 1" >"$PROC/uptime"; trial_watch') == []
    guarded.put("proc/uptime", "100.00 1.00\n")
    assert trial(guarded, 'echo "300.00 1" >"$PROC/uptime"; trial_watch') == ["reboot", "-n"]
    assert guarded.status("slot")[0] == "fail"


# What a bootloader told of this start, when the device finds no boot partition to look there.
TOLD = "LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
BLIND = f"""{STUBS}
slots() {{ [ "$1" = started ] || echo "slots $*"; }}
mount() {{ echo "$*" >>"$ROOT/mounts"; cp "$ROOT"/efivars/* "$6"; }}
umount() {{ echo "umount $1" >>"$ROOT/mounts"; rm "$1"/*; }}
guard_start
guard_start
"""


@pytest.mark.parametrize(
    ("words", "firmware", "ends"),
    [
        ("skiff.slot=b skiff.trial", False, True),
        ("skiff.slot=b", TOLD, True),
        # A good slot whose disk died: restarting it helps nobody.
        ("skiff.slot=b", False, False),
        ("skiff.slot=b", "LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f", False),
    ],
)
def test_a_trial_that_does_not_find_its_disk_ends(
    guarded: Device, words: str, firmware: str | bool, ends: bool
) -> None:
    guarded.cmdline(f"quiet {words}")
    if firmware:
        (guarded.root / "sys/firmware/efi").mkdir(parents=True)
        guarded.put(f"efivars/{firmware}", "")
    late = 'echo "399.00 1" >"$PROC/uptime"; trial_watch; echo; echo "400.00 1" >"$PROC/uptime"; trial_watch'
    told = guarded.sh(f'{BLIND}{late}; echo "<$STARTED>"').stdout
    assert told == ("\nreboot -n\n<>\n" if ends else "\n<>\n")
    assert (guarded.root / "run/skiff/status/slot").exists() == ends
    if firmware:
        # Asked for once, and not left mounted.
        where = guarded.root / "run/skiff/efi"
        assert guarded.read("mounts").splitlines() == [
            f"-t efivarfs -o ro,nosuid,nodev,noexec efivarfs {where}",
            f"umount {where}",
        ]


def test_a_disk_that_comes_late_is_what_counts(guarded: Device) -> None:
    guarded.cmdline("quiet skiff.slot=b skiff.trial")
    late = 'guard_start; echo "900.00 1" >"$PROC/uptime"; trial_watch'
    assert guarded.says(f"{BLIND}slots() {{ echo good b; }}\n{late}") == ""
    guarded.put("proc/uptime", "100.00 1.00\n")
    assert guarded.says(f'{BLIND}touch "$RUN/confirmed"; {late}') == ""


def test_a_confirmed_trial_goes_on(guarded: Device) -> None:
    assert trial(guarded, 'touch "$RUN/confirmed"; echo "900.00 1" >"$PROC/uptime"; trial_watch') == []


def test_a_confirmation_while_the_guard_ends_the_trial(guarded: Device) -> None:
    meanwhile = 'slots() { report slot ok "b, confirmed"; : >"$RUN/confirmed"; }'
    assert trial(guarded, f'echo "300.00 1" >"$PROC/uptime"; {meanwhile}; trial_watch; trial_watch') == []
    assert guarded.status("slot")[1] == "b, confirmed"


def test_what_was_confirmed_before_the_guard_looked_stays_told(guarded: Device) -> None:
    look = f"{STUBS}slots() {{ echo good b; }}\n"
    guarded.says(f'{look}guard_start\nreport slot ok "b, confirmed"; touch "$RUN/confirmed"\nguard_start')
    assert guarded.status("slot")[1] == "b, confirmed"


def test_the_second_choice_is_told(guarded: Device) -> None:
    guarded.says(f"{STUBS}slots() {{ echo second a b; }}\nguard_start")
    assert guarded.status("slot")[:2] == ["warn", "a: the other one, b, did not start or was not confirmed"]


def test_settings_are_the_image_s_again(guarded: Device) -> None:
    guarded.put("run/skiff/image/etc/service/ssh/run", "image")
    guarded.put("run/skiff/image/etc/passwd", "root")
    guarded.put("etc/service/ssh/run", "mine")
    guarded.put("etc/passwd", "root\nmine")
    guarded.put("etc/skiff/authorized_keys/build.pub", "ssh-ed25519 AAAAC3 me\n")
    guarded.says('. "$LIB/guard.sh"; ssh_pristine')
    assert guarded.read("etc/service/ssh/run") == "image" and guarded.read("etc/passwd") == "root"
    assert guarded.read("root/.ssh/authorized_keys") == "ssh-ed25519 AAAAC3 me\n"
