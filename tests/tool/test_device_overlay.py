"""What an overlay may not break: the account that logs in, its shell, the room in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tool.device import Device

LOAD = '. "$LIB/overlay.sh"\n'
GOOD = "root:x:0:0::/root:/bin/sh\n"
# The image's own, but less patient.
_BUSYBOX = """#!/bin/sh
if [ "$1" = timeout ]; then
    shift 4
    set -- timeout -k 1 1 "$@"
fi
exec BUSYBOX "$@"
"""


@pytest.fixture(autouse=True)
def image(device: Device) -> None:
    device.put("run/skiff/image/usr/bin/busybox", _BUSYBOX.replace("BUSYBOX", device.busybox)).chmod(0o755)


def verdict(device: Device, function: str) -> str:
    return device.says(f"{LOAD}if {function}; then echo sane; else echo broken; fi")


def test_a_good_passwd(device: Device) -> None:
    device.put("etc/passwd", "ann:x:1000:1000::/home/ann:/bin/sh\n" + GOOD)
    assert verdict(device, "passwd_sane") == "sane"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage\n",
        "root:x:1:0::/root:/bin/sh\n",
        "root:x:0:0::/root:/bin/no-such-shell\n",
        "root:x:0:0::/root:/bin/false\n",
        "root:x:0:0::/home:/bin/sh\n",
        "root:x:0:0::/root:\n",
        b"\x00\xff\x00",
    ],
)
def test_a_passwd_that_lets_nobody_in(device: Device, text: str | bytes) -> None:
    device.put("etc/passwd", text)
    assert verdict(device, "passwd_sane") == "broken"


def test_a_shell_that_waits_for_what_comes_later_lets_nobody_in(device: Device) -> None:
    shell = device.put("usr/bin/wrapper", "#!/bin/sh\nuntil false; do sleep 1; done\n")
    shell.chmod(0o755)
    device.put("etc/passwd", f"root:x:0:0::/root:{shell}\n")
    assert verdict(device, "passwd_sane") == "broken"


@pytest.mark.parametrize(("text", "expected"), [("/bin/sh\n", "sane"), ("# none\n/bin/zsh\n", "broken")])
def test_a_shell_that_is_not_listed_is_refused(device: Device, text: str, expected: str) -> None:
    device.put("etc/passwd", GOOD)
    device.put("etc/shells", text)
    assert verdict(device, "passwd_sane && shells_sane") == expected


@pytest.mark.parametrize(("files", "available", "expected"), [(5, 1000, "sane"), (100, 1000, "broken")])
def test_an_overlay_must_fit_into_memory(device: Device, files: int, available: int, expected: str) -> None:
    device.put("proc/meminfo", f"MemTotal: 9999 kB\nMemAvailable: {available} kB\n")
    for number in range(files):
        device.put(f"mnt/persist/skiff/overlay/{number}", "")
    assert verdict(device, "quarter=5 && OVERLAY=$PERSIST/skiff/overlay && overlay_fits") == expected


def copied(device: Device, seconds: int, status: int) -> list[str]:
    """How long each copy may take, when they take some seconds; the last one ends with a status."""
    device.put("proc/meminfo", "MemAvailable: 100000 kB\n")
    device.put("proc/uptime", "100.00 1.00\n")
    for name in ("bin", "lib"):
        device.put(f"mnt/persist/skiff/overlay/{name}/one", "")
    stub = f"""
now=100
timeout() {{
    case $4 in
    rsync) ;;
    *) return ;;
    esac
    echo "$3" >>"$ROOT/limits"
    now=$((now + {seconds}))
    echo "$now.00 1.00" >"$PROC/uptime"
    return {status}
}}
"""
    device.says(f"{LOAD}{stub}OVERLAY=$PERSIST/skiff/overlay hint=look timeout=20; overlay_copy")
    return device.read("limits").split()


def test_all_copies_share_the_time(device: Device) -> None:
    assert copied(device, 4, 0) == ["11", "7", "3"]
    assert device.status("overlay")[0] == "ok"


def test_a_copy_that_was_ended_in_time_is_told(device: Device) -> None:
    assert copied(device, 11, 20) == ["11"]
    assert "stopped after 11 seconds" in device.status("overlay")[1]
    assert "skiff.overlay_timeout" in device.status("overlay")[2]


def test_a_large_overlay_says_how_large(device: Device) -> None:
    device.put("proc/meminfo", "MemAvailable: 3000 kB\n")
    device.put("mnt/persist/skiff/overlay/big", bytes(range(256)) * 4 * 3000)
    told = device.says(f'{LOAD}quarter=5 OVERLAY=$PERSIST/skiff/overlay; overlay_fits || echo "$WHY"')
    assert "2 MiB" in told
    assert "memory" in told


def _a_file(folder: Path) -> None:
    folder.write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI you\n")


def _a_link(folder: Path) -> None:
    folder.symlink_to("/mnt/persist/ssh")


def _a_folder_with_a_link(folder: Path) -> None:
    folder.mkdir()
    (folder / "authorized_keys").symlink_to("/mnt/persist/ssh/authorized_keys")


@pytest.mark.parametrize(
    ("laid", "mended"),
    [(_a_file, "/root/.ssh"), (_a_link, "/root/.ssh"), (_a_folder_with_a_link, "")],
)
def test_keys_are_written_whatever_lies_in_their_place(
    device: Device, laid: Callable[[Path], None], mended: str
) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI me\n"
    device.put("etc/skiff/authorized_keys/build.pub", key)
    (device.root / "root").mkdir()
    laid(device.root / "root/.ssh")
    script = 'busybox=busybox MENDED=; keys_sane 2>/dev/null; write_keys; echo "$MENDED"'
    assert device.says(f'{LOAD}. "$LIB/keys.sh"; {script}') == mended
    assert device.read("root/.ssh/authorized_keys") == key
    assert not (device.root / "root/.ssh").is_symlink()
