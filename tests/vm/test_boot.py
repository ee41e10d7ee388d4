"""The device boots, answers, lives in RAM, and takes a power cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from skiff.machine import qemu, ssh
from skiff.machine.boot_log import WORDS, read_boot
from tests.vm import disks
from tests.vm.driver import Device
from tests.vm.posture import weak_places
from tests.vm.programs import programs_that_fail

MakeDevice = Callable[..., Device]


def test_boots_answers_and_lives_in_ram(device: MakeDevice) -> None:
    machine = device("virt/qemu", shipped=True)
    machine.boot()
    mounts = machine.succeed("cat /proc/mounts").splitlines()
    from_disk = {line.split()[1] for line in mounts if line.startswith(("/dev/vd", "/dev/sd"))}
    assert from_disk <= {"/mnt/persist"}
    assert any(line.split()[1:3] == ["/", "overlay"] for line in mounts)
    # The start is over: the kernel hurries no more.
    machine.wait_until_succeeds("grep -qx 0 /sys/kernel/rcu_expedited")
    # Nobody knocked while it could not hear: forty would come in now (`skiff.machine.knock`).
    machine.wait_for_persist()
    assert int(machine.succeed("grep -c 'Child connection' /run/log/messages")) < 15


def test_files_on_persist_survive_a_power_cut_and_others_do_not(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    machine.start(append=WORDS)
    machine.wait_for_ssh()
    machine.wait_for_persist()
    boot = read_boot(machine.succeed("dmesg"))
    assert {"kernel", "init", "boot", "ssh", "persist"} <= {span.lane for span in boot.lanes}
    assert boot.initcalls
    machine.succeed("echo kept >/mnt/persist/note; sync; echo lost >/root/note")
    machine.cut_power()
    assert disks.is_sound(machine.persist)
    machine.boot()
    machine.wait_until_succeeds("grep -q kept /mnt/persist/note", timeout=120)
    machine.fail("test -e /root/note")


def test_shuts_down_when_asked(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    machine.boot()
    machine.shut_down()
    assert not machine.is_running()
    assert "Power down" in machine.console()


def test_without_any_disk_it_still_answers(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    machine.start(persist=False)
    machine.wait_for_ssh()
    machine.fail("grep -q ' /mnt/persist ' /proc/mounts")
    machine.succeed("skiff-status | grep -i persist")


@pytest.mark.parametrize("layers", [("virt/qemu",), ("virt/qemu", "ssh/openssh")])
def test_ssh_lets_in_keys_only(device: MakeDevice, layers: tuple[str, ...]) -> None:
    machine = device(*layers)
    machine.boot()
    for user in ("root", "nobody"):
        target = ssh.Target(port=machine.ssh_port, known_hosts=None, user=user)
        options = ("PubkeyAuthentication=no", "NumberOfPasswordPrompts=0")
        done = machine.connect(ssh.argv(target, ["true"], options=options))
        # The server names what it would take.
        assert b"Permission denied (publickey)" in done.stderr
    # Accounts have no password that could be guessed on the console either.
    assert machine.succeed("awk -F: '$2 !~ /^[!*]/' /etc/shadow") == ""


@pytest.mark.parametrize("layers", [("virt/qemu",), ("virt/qemu", "ssh/openssh")])
def test_files_are_copied_both_ways(device: MakeDevice, layers: tuple[str, ...], tmp_path: Path) -> None:
    machine = device(*layers)
    machine.boot()
    content = bytes(range(256)) * 4096
    (tmp_path / "out").write_bytes(content)
    # scp as it is today speaks the protocol of sftp.
    machine.scp(tmp_path / "out", "device:/root/there")
    machine.scp("device:/root/there", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content


def test_what_makes_a_device_itself_is_kept(device: MakeDevice) -> None:
    one, other = device("virt/qemu"), device("virt/qemu")
    facts = "cat /etc/machine-id; dropbearkey -y -f /run/skiff/ssh/dropbear_ed25519_host_key | grep ^ssh"
    seen = []
    for machine in (one, other, one):
        machine.boot()
        machine.succeed("/usr/lib/skiff/wait-persist", timeout=90)
        seen.append(machine.succeed(facts))
        machine.cut_power()
    assert seen[0] == seen[2]
    assert not set(seen[0].split()[:3:2]) & set(seen[1].split()[:3:2])


def test_the_clock_starts_no_earlier_than_it_was_seen(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    machine.start(persist=True, extra=("-rtc", "base=2001-01-01"))
    machine.wait_for_ssh()
    build = int(machine.succeed("cat /etc/skiff/epoch"))
    assert int(machine.succeed("date +%s")) >= build
    machine.wait_for_persist()
    # Later than the build, as after years in the field.
    machine.succeed("date -s @1893456000; sv restart clock")
    machine.wait_until_succeeds("test $(cat /mnt/persist/skiff/clock) -ge 1893456000")
    machine.succeed("sync")
    machine.cut_power()
    machine.boot()
    assert int(machine.succeed("date +%s")) >= 1893456000


def test_all_is_well_and_nothing_else_listens(device: MakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    # As on a board: without the words by which an emulated kernel leaves out what guards it.
    monkeypatch.setattr(qemu, "_EMULATED", ())
    machine = device("virt/qemu", "engine/docker")
    machine.boot()
    machine.wait_for_engine()
    units = machine.units()
    assert {name: unit for name, unit in units.items() if unit.state not in ("ok", "wait")} == {}
    assert {"system", "network eth0", "ssh", "persist", "clock", "engine", "services", "swap"} <= set(units)
    text = machine.succeed("skiff-status")
    assert text.count("Skiff 0.") == 1
    machine.succeed("grep -q zram /proc/swaps")
    listening = {
        (words[0].removesuffix("6"), words[3].rpartition(":")[2])
        for words in map(str.split, machine.succeed("netstat -lntu").splitlines()[2:])
        if not words[3].startswith(("127.0.0.1:", "::1:"))
    }
    # SSH, and the name on the local network.
    assert listening == {("tcp", "22"), ("udp", "5353")}
    assert weak_places(machine) == {}
    assert programs_that_fail(machine) == ""


def test_logs_are_bounded(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    machine.boot()
    machine.wait_for_service("log")
    machine.wait_until_succeeds("test -d /mnt/persist/skiff/log")
    # More than 4 MB of it, each line another one.
    lines = "seq 60001 100000 | sed 's/$/ there is much to say about nothing at all, and it is said again/'"
    machine.succeed(f"{lines} | logger")
    machine.wait_until_succeeds("grep -rq '99999 there is' /run/log")
    assert int(machine.succeed("du -sk /run/log").split()[0]) < 2048
    machine.wait_until_succeeds("grep -rq '99999 there is' /mnt/persist/skiff/log")
    assert int(machine.succeed("du -sk /mnt/persist/skiff/log").split()[0]) < 2048


def test_a_system_that_hangs_is_restarted_by_the_watchdog(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    machine.boot()
    machine.wait_for_unit("watchdog", "60 s")
    before = machine.boot_id()
    # What feeds it stands still, as it would if the kernel ran nothing any more.
    machine.succeed("kill -STOP $(pidof watchdog)")
    machine.wait_for_restart(before, timeout=240)


def test_a_service_that_ends_is_started_again(device: MakeDevice) -> None:
    machine = device("virt/qemu")
    machine.boot()
    pid = "/etc/service/ssh/supervise/pid"
    old = machine.succeed(f"cat {pid}").strip()
    machine.succeed(f"kill -9 {old}")
    machine.wait_until_succeeds(f"test $(cat {pid}) != {old}")
    machine.wait_for_ssh()


def test_the_console_is_no_way_in_unless_asked_for(device: MakeDevice) -> None:
    closed, open_ = device("virt/qemu"), device("virt/qemu", "util/rootlogin")
    # A shell throws away what was typed before it asks.
    for machine, says in ((closed, "Log in: ssh"), (open_, ":~# ")):
        machine.boot()
        machine.wait_for_console(says)
        machine.type("\necho mark-$((40 + 2))\n")
    open_.wait_for_console("mark-42")
    closed.succeed("sync")
    assert "mark-42" not in closed.console()
