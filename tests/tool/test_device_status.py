"""skiff-status: every state and hint comes through, for people and for programs."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest

from tests.tool.device import Device

STUBS = 'timeout() { :; }\ndf() { echo "/dev/vda1 900 100 $FREE 10% /mnt/persist"; }\n'


def status(
    device: Device, words: str = "", free: int = 800, uptime: str = "75.20", more: str = ""
) -> tuple[int, str]:
    device.put("proc/uptime", f"{uptime} 100.00\n")
    device.put("proc/meminfo", "MemTotal: 1000000 kB\nMemFree: 1 kB\nMemAvailable: 500000 kB\n")
    device.put("proc/sys/kernel/hostname", "attic\n")
    script = f'{STUBS}{more}set -- {words}\n. "$SKIFF_ROOT/usr/bin/skiff-status"'
    done = device.raw(script, env={"FREE": str(free)})
    assert done.stderr == ""
    return done.returncode, done.stdout


def as_json(device: Device, free: int = 800) -> tuple[int, dict[str, Any]]:
    code, text = status(device, "--json", free)
    answer: dict[str, Any] = json.loads(text)
    return code, answer


@pytest.fixture
def fine(device: Device) -> Device:
    """A machine where all is well."""
    for unit, text in {
        "net.eth0": "10.0.2.15/24 (DHCP)",
        "ssh": "dropbear, port 22",
        "keys": "1",
        "persist": "/dev/vda1, clean",
    }.items():
        device.put(f"run/skiff/status/{unit}", f"ok\t{text}\t\n")
    return device


def test_all_is_well(fine: Device) -> None:
    code, answer = as_json(fine)
    assert code == 0
    assert answer["ok"] is True
    assert answer["units"]["network eth0"] == {"state": "ok", "text": "10.0.2.15/24 (DHCP)", "hint": ""}
    assert answer["units"]["persist"]["text"] == "/dev/vda1, clean; 800 of 900 MiB free"
    assert answer["units"]["uptime"]["text"] == "1 min 15 s"


def test_a_failure_is_told_with_its_hint(fine: Device) -> None:
    fine.put("run/skiff/status/overlay", 'fail\tskipped: a "quoted" \\ name\tlook at it\n')
    code, answer = as_json(fine)
    assert code == 1
    assert answer["ok"] is False
    assert answer["units"]["overlay"] == {
        "state": "fail",
        "text": 'skipped: a "quoted" \\ name',
        "hint": "look at it",
    }
    code, text = status(fine)
    assert code == 1
    assert "X overlay" in text
    assert "→ look at it" in text


def test_what_a_terminal_would_obey_is_not_shown(fine: Device) -> None:
    fine.put("run/skiff/status/core", "fail\ttools: \x1b[2J…\tlook\x1b]52;c;ZXZpbA==\x07\x7f\n")
    _, text = status(fine)
    assert "core          tools: [2J…\n" in text and "→ look]52;c;ZXZpbA==\n" in text
    assert as_json(fine)[1]["units"]["core"]["hint"] == "look]52;c;ZXZpbA=="


def test_a_warning_is_no_failure(fine: Device) -> None:
    fine.put("run/skiff/status/net.eth0", "warn\tno DHCP answer: 169.254.1.2 (link-local)\tcheck\n")
    code, text = status(fine)
    assert code == 0
    assert "! network eth0" in text


def test_a_full_persist_is_a_failure(fine: Device) -> None:
    code, answer = as_json(fine, free=3)
    assert code == 1
    assert answer["units"]["persist"]["state"] == "fail"
    assert "full" in answer["units"]["persist"]["text"]


def test_a_disk_that_fills_up_is_told_of_early(fine: Device) -> None:
    unit = as_json(fine, free=89)[1]["units"]["persist"]
    assert unit["state"] == "warn" and "nearly full" in unit["text"]
    assert as_json(fine, free=91)[1]["units"]["persist"]["state"] == "ok"


def test_errors_that_the_kernel_counted_are_told(fine: Device) -> None:
    fine.put("run/skiff/persist", "vda1\n")
    fine.put("sys/fs/ext4/vda1/errors_count", "0\n")
    assert as_json(fine)[1]["units"]["persist"]["state"] == "ok"
    fine.put("sys/fs/ext4/vda1/errors_count", "7\n")
    unit = as_json(fine)[1]["units"]["persist"]
    assert unit["state"] == "warn" and "errors: 7" in unit["text"]


def test_no_key_makes_ssh_a_failure(fine: Device) -> None:
    fine.put("run/skiff/status/keys", "fail\tno key: nobody can log in\tput one there\n")
    code, answer = as_json(fine)
    assert code == 1
    assert answer["units"]["ssh"]["state"] == "fail"


def test_units_of_other_layers_are_shown(fine: Device) -> None:
    fine.put("run/skiff/status/crew", "ok\t3 apps\t\n")
    assert as_json(fine)[1]["units"]["crew"]["text"] == "3 apps"


def test_a_service_that_is_down_is_a_failure(fine: Device) -> None:
    for name, state in (("time", "run"), ("mdns", "down")):
        fine.put(f"etc/service/{name}/run", "").chmod(0o755)
        fine.put(f"etc/service/{name}/supervise/stat", state + "\n")
    code, answer = as_json(fine)
    assert code == 1
    assert answer["units"]["services"]["text"] == "down: mdns"


@pytest.mark.parametrize(
    ("name", "made", "told"),
    [
        ("mdns", -60, "1 running"),
        ("mdns", 0, "1, just restarted: mdns"),
        ("mdns", 9999, "1 running"),
        # The engine's own line tells of it.
        ("docker", 0, "1 running"),
    ],
)
def test_a_service_that_was_just_started_again_is_told(fine: Device, name: str, made: int, told: str) -> None:
    """One that has its time of a clock that was ahead, and was put right, is not."""
    fine.put("etc/skiff/engine", "docker\n")
    fine.put(f"etc/service/{name}/run", "").chmod(0o755)
    fine.put(f"etc/service/{name}/supervise/stat", "run\n")
    path = fine.put(f"etc/service/{name}/supervise/pid", "7\n")
    now = int(time.time())
    os.utime(path, (now + made, now + made))
    # However long this takes to be looked at.
    date = f'date() {{ case $1 in +%s) echo {now} ;; *) command date "$@" ;; esac; }}\n'
    answer = json.loads(status(fine, "--json", uptime="300.00", more=date)[1])
    assert answer["units"]["services"]["text"] == told


def test_the_engine_is_shown_when_the_image_has_one(fine: Device) -> None:
    assert "engine" not in as_json(fine)[1]["units"]
    fine.put("etc/skiff/engine", "docker\n")
    assert as_json(fine)[1]["units"]["engine"]["state"] == "wait"
    fine.put("run/skiff/status/engine", "fail\tdockerd ended 4 times in a row\tmv it aside\n")
    assert as_json(fine)[0] == 1


@pytest.mark.parametrize("words", ["--jsn", "persist --jsn", "-j"])
def test_a_wrong_word_is_refused(fine: Device, words: str) -> None:
    done = fine.raw(f'set -- {words}; . "$SKIFF_ROOT/usr/bin/skiff-status"')
    assert done.returncode == 2
    assert "usage" in done.stderr


def test_only_the_lines_that_are_named_are_shown(fine: Device) -> None:
    """In the order of the screen; the status is that of what is shown."""
    code, text = status(fine, "persist hostname")
    assert code == 0
    assert [line.split()[0] for line in text.splitlines()] == ["hostname", "persist"]
    fine.put("run/skiff/status/overlay", "fail\tskipped\tlook at it\n")
    fine.put("run/skiff/status/net.eth1", "ok\tno cable\t\n")
    assert status(fine, "persist")[0] == 0
    code, text = status(fine, "overlay")
    assert code == 1
    assert text.startswith("X overlay       skipped\n                → look at it\n")
    # A line with a name behind its own: all of them, or one.
    assert status(fine, "network")[1].count("\n") == 2
    assert status(fine, "'network eth1'")[1] == "  network eth1  no cable\n"


@pytest.mark.parametrize("words", ["--json persist network", "persist --json network"])
def test_named_lines_as_json(fine: Device, words: str) -> None:
    fine.put("run/skiff/status/overlay", "fail\tskipped\tlook at it\n")
    code, text = status(fine, words)
    assert code == 0
    answer = json.loads(text)
    assert answer["ok"] is True
    assert list(answer["units"]) == ["network eth0", "persist"]
    code, text = status(fine, "--json overlay")
    assert (code, json.loads(text)["ok"]) == (1, False)


@pytest.mark.parametrize("words", ["persist cluster", "--json cluster", "netw", "'*'", "''"])
def test_a_line_that_is_not_there_is_told(fine: Device, words: str) -> None:
    status(fine)
    done = fine.raw(f'{STUBS}set -- {words}\n. "$SKIFF_ROOT/usr/bin/skiff-status"', env={"FREE": "800"})
    assert (done.returncode, done.stdout) == (2, "")
    name = words.split()[-1].strip("'")
    assert done.stderr.startswith(f"skiff-status: there is no line {name}")
    assert "hostname, memory, network eth0, ssh, persist" in done.stderr


def test_a_time_program_without_a_socket_leaves_its_answer_in_a_file(fine: Device) -> None:
    assert as_json(fine)[1]["units"]["clock"]["text"].endswith(", not yet in step with network time")
    fine.put("run/skiff/time", "Normal 10\n")
    for uptime, told in (("5410.9", "in step"), ("7210.0", "last in step with network time 2 h 0 min ago")):
        text = json.loads(status(fine, "--json", uptime=uptime)[1])["units"]["clock"]["text"]
        assert f" UTC, {told}" in text


@pytest.mark.parametrize(("leap", "told"), [("Normal", "in step"), ("Not synchronised", "not yet in step")])
def test_chronyd_is_asked_where_it_runs(fine: Device, leap: str, told: str) -> None:
    fine.put("run/chrony/chronyd.sock", "")
    chronyc = f'timeout() {{ echo "7F7F0101,,{leap}"; }}\n'
    text = json.loads(status(fine, "--json", more=chronyc)[1])["units"]["clock"]["text"]
    assert text.endswith(f" UTC, {told} with network time")
