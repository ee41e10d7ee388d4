"""What an overlay may not break: the account that logs in, its shell, the room in memory."""

from __future__ import annotations

import pytest

from tests.tool.device import Device

LOAD = '. "$LIB/overlay.sh"\n'
GOOD = "root:x:0:0::/root:/bin/sh\n"


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


def test_a_large_overlay_says_how_large(device: Device) -> None:
    device.put("proc/meminfo", "MemAvailable: 3000 kB\n")
    device.put("mnt/persist/skiff/overlay/big", bytes(range(256)) * 4 * 3000)
    told = device.says(f'{LOAD}quarter=5 OVERLAY=$PERSIST/skiff/overlay; overlay_fits || echo "$WHY"')
    assert "2 MiB" in told
    assert "memory" in told
