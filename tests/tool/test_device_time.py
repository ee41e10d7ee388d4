"""The device's clock and the network: who is asked, with what rights, and how often."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tool.device import ROOTFS, Device

_SCRIPT = (ROOTFS.parent / "services" / "time" / "run").read_text()


@pytest.fixture
def device(tmp_path: Path) -> Device:
    made = Device(tmp_path)
    made.put("run/skiff/net/ready", "")
    made.put("told", "")
    made.put("proc/uptime", "71.25 99.00\n")
    return made


def runs(device: Device, answers: str, turns: int = 1) -> list[str]:
    """What the service starts and how long it waits, turn by turn; ``answers`` is shell, of server $1."""
    fakes = f"""
timeout() {{
	echo "$*" >>"$ROOT/told"
	for server in "$@"; do :; done
	echo "said of $server" >&2
	set -- "$server"
	{answers}
}}
logger() {{ sed 's/^/log: /' >>"$ROOT/told"; }}
hwclock() {{ echo "hwclock $*" >>"$ROOT/told"; }}
turns=0
pause() {{
	echo "wait $1" >>"$ROOT/told"
	turns=$((turns + 1))
	[ "$turns" -lt {turns} ] || exit 0
}}
"""
    library = '. "$SKIFF_ROOT/usr/lib/skiff/lib.sh"\n'
    assert _SCRIPT.count(". /usr/lib/skiff/lib.sh\n") == 1
    done = device.raw(_SCRIPT.replace(". /usr/lib/skiff/lib.sh\n", library + fakes))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return device.read("told").splitlines()


def asked(lines: list[str]) -> list[str]:
    return [line.rpartition(" ")[2] for line in lines if "/usr/sbin/rdate" in line]


def test_servers_of_dhcp_are_asked_before_those_of_the_image(device: Device) -> None:
    device.put("run/skiff/net/eth0.sources", "server 192.0.2.7 iburst\n")
    device.put("etc/skiff/time/attic.sources", "# server 192.0.2.9\nserver 192.0.2.8\n")
    assert asked(runs(device, "false")) == ["192.0.2.7", "192.0.2.8", "pool.ntp.org"]


def test_the_first_answer_is_enough_for_half_an_hour(device: Device) -> None:
    device.put("run/skiff/net/eth0.sources", "server 192.0.2.7 iburst\nserver 192.0.2.8 iburst\n")
    device.put("dev/rtc0", "")
    lines = runs(device, "[ $1 = 192.0.2.8 ]")
    assert asked(lines) == ["192.0.2.7", "192.0.2.8"]
    assert lines[2:] == ["log: said of 192.0.2.8", "hwclock -u -w", "wait 1800"]
    assert device.read("run/skiff/time") == "Normal 71\n"


def test_a_program_that_may_only_set_the_clock_asks(device: Device) -> None:
    words = runs(device, "true")[0].split()
    assert words[2:] == [
        "--reuid=_time",
        "--regid=_time",
        "--clear-groups",
        "--no-new-privs",
        "--bounding-set=-all,+sys_time",
        "--inh-caps=-all,+sys_time",
        "--ambient-caps=-all,+sys_time",
        *("/usr/sbin/rdate", "-nv", "-o", "123", "-b", "1", "pool.ntp.org"),
    ]


def test_without_an_answer_the_clock_is_not_in_step_and_questions_grow_rare(device: Device) -> None:
    device.put("run/skiff/time", "Normal 5\n")
    lines = runs(device, "false", turns=6)
    assert [line for line in lines if line.startswith("wait")] == [
        f"wait {seconds}" for seconds in (8, 16, 32, 64, 64, 64)
    ]
    assert not (device.root / "run/skiff/time").exists()
    # A device may be without one for long, and the log is small.
    assert lines.count("log: said of pool.ntp.org") == 1


def test_no_server_at_all_is_told(device: Device) -> None:
    (device.root / "etc/skiff/time/default.sources").unlink()
    assert runs(device, "true") == ["log: no server is named", "wait 8"]


def test_nobody_is_asked_before_there_is_a_network(device: Device) -> None:
    (device.root / "run/skiff/net/ready").unlink()
    assert runs(device, "true", turns=3) == ["wait 1"] * 3


def test_chrony_is_started_where_the_image_has_it(device: Device) -> None:
    device.put("usr/sbin/chronyd", "").chmod(0o755)
    script = 'chrony() { echo chrony >>"$ROOT/told"; exit 0; }\n'
    marked = _SCRIPT.replace("# Servers that DHCP named", f"{script}# Servers that DHCP named")
    lib = '. "$SKIFF_ROOT/usr/lib/skiff/lib.sh"\n'
    assert device.raw(marked.replace(". /usr/lib/skiff/lib.sh\n", lib)).returncode == 0
    assert device.read("told") == "chrony\n"
