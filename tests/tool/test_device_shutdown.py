"""The end of a device: persist is put away gently, and a disk that never answers keeps it from nothing."""

from __future__ import annotations

import pytest

from tests.tool.device import LIB, Device

# Each tells that it was called. A kill is not to be real.
_FAKES = """
told() { echo "$*" >>"$SKIFF_ROOT/told"; }
sv() { told sv; }
kill() { told "kill $1"; }
reboot() { told "reboot $*"; }
sync() { told sync; }
mount() { told mount; }
umount() { told umount; : >"$SKIFF_ROOT/proc/mounts"; }
"""


def shut_down(device: Device, fakes: str = "", hangs: bool = False) -> list[str]:
    """Run the script with functions of the shell in place of programs; what it did, in order."""
    device.put("proc/mounts", f"/dev/vda1 {device.root}/mnt/persist ext4 rw 0 0\n")
    device.put("proc/sysrq-trigger", "")
    device.put("proc/meminfo", "Dirty: 4 kB\nWriteback: 0 kB\n")
    text = (LIB / "shutdown").read_text()
    lib = '. "$SKIFF_ROOT/usr/lib/skiff/lib.sh"'
    text = text.replace(". /usr/lib/skiff/lib.sh", f"{lib}\n{_FAKES}{fakes}")
    if hangs:
        # Its limit is long for a test.
        text = text.replace("within 20", "within 0.2").replace("within 10", "within 0.2")
    done = device.raw(text)
    assert done.stderr == ""
    return device.read("told").splitlines()


def test_a_usual_end(device: Device) -> None:
    assert shut_down(device) == ["sv", "sync", "kill -TERM", "umount", "mount", "sync"]
    assert device.read("proc/sysrq-trigger") == ""


def test_what_holds_persist_is_ended(device: Device) -> None:
    busy = """
umount() { told umount; [ -e "$SKIFF_ROOT/killed" ]; }
kill() { told "kill $1"; case $1 in -KILL) : >"$SKIFF_ROOT/killed" ;; esac; }
pause() { :; }
"""
    told = shut_down(device, busy)
    assert told[-4:] == ["kill -KILL", "umount", "mount", "sync"]
    assert device.read("proc/sysrq-trigger") == ""


def test_a_slow_disk_is_waited_for(device: Device) -> None:
    # Each look finds less that is to be written.
    slow = """
sync() { told sync; sleep 1; }
memory() {
	read -r REPLY <"$SKIFF_ROOT/dirty"
	echo $((REPLY - 1)) >"$SKIFF_ROOT/dirty"
}
"""
    device.put("dirty", "1000\n")
    told = shut_down(device, slow, hangs=True)
    assert told == ["sv", "sync", "kill -TERM", "umount", "mount", "sync"]
    assert device.read("proc/sysrq-trigger") == ""


def test_a_disk_that_others_keep_busy_is_waited_for(device: Device) -> None:
    # As much comes as goes.
    busy = """
sync() {
	told sync
	for number in 1 2 3 4 5 6 7 8; do
		echo "nr_written $number" >"$PROC/vmstat.new"
		mv "$PROC/vmstat.new" "$PROC/vmstat"
		command sleep 0.1
	done
}
"""
    told = shut_down(device, busy, hangs=True)
    assert told == ["sv", "sync", "kill -TERM", "umount", "mount", "sync"]
    assert device.read("proc/sysrq-trigger") == ""


@pytest.mark.parametrize("program", ["sync", "umount"])
def test_a_disk_that_never_answers(device: Device, program: str) -> None:
    told = shut_down(device, f"{program}() {{ told {program}; sleep 3; }}\n", hangs=True)
    assert told.count(program) == 1
    # Without init, which would sync and wait.
    assert device.read("proc/sysrq-trigger") == "b\n"
