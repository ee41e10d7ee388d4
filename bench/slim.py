"""What the small image takes besides bytes: time to SSH, and memory when nothing is asked of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

import msgspec

from bench.boot import against_bare
from bench.setting import Built, Setting
from bench.table import Figure
from tests.vm.driver import Device

_LAYERS = ("virt/qemu", "util/slim")
# Of the machine whose memory is looked at, MiB.
_MEMORY = 256

_BOOT = Figure("boot-slim", "power-on to SSH against bare kernel, util/slim, no engine", "×", 1.6)
_GUEST = Figure("boot-slim-guest", "the same by the guest's own clock, from its kernel's start", "ms", None)
_IDLE = Figure("idle-slim", "memory used at idle, util/slim, no engine, besides the image", "MB", 32)
FIGURES = (_BOOT, _GUEST, _IDLE)

# What is used and could not be had for something else (proc_meminfo(5)), in KiB.
_USED = "awk '/^MemTotal:/ { all = $2 } /^MemAvailable:/ { print all - $2 }' /proc/meminfo"


def measure(setting: Setting) -> Iterator[Figure]:
    """The time first, then one machine that is left alone."""
    built = setting.image(*_LAYERS)
    yield from against_bare(setting, [_BOOT], [built])
    yield _by_its_clock(setting, built)
    yield _idle(setting, built)


def _by_its_clock(setting: Setting, built: Built) -> Figure:
    """Its uptime once the first log-in had run a command: a second one asks, less its own time."""
    repeat = setting.times(7, 3)
    times: list[float] = []
    with setting.device(built, "clock") as device:
        for _ in range(repeat):
            device.boot(300)
            answered = time.monotonic()
            uptime = float(device.succeed("cat /proc/uptime").split()[0])
            times.append(uptime - (time.monotonic() - answered))
            device.cut_power()
    return msgspec.structs.replace(_GUEST, value=median(times) * 1000, note=f"median of {repeat}")


def _idle(setting: Setting, built: Built) -> Figure:
    with setting.device(built, "idle") as device:
        device.start(memory=_MEMORY)
        device.wait_for_ssh(300)
        device.wait_for_persist(300)
        device.wait_for_unit("services", "running", 300)
        used = _when_idle(device) * 1024 / 1e6
    note = f"{used:.1f} MB of {_MEMORY} MiB, image {built.megabytes:.1f}"
    return msgspec.structs.replace(_IDLE, value=used - built.megabytes, note=note)


def _when_idle(device: Device) -> int:
    """KiB used, the least of all looks, once three in a row found no less: programs of the start end late."""
    least, in_vain = int(device.succeed(_USED)), 0
    while in_vain < 3:
        device.hold_for(2)
        used = int(device.succeed(_USED))
        in_vain = 0 if used < least else in_vain + 1
        least = min(least, used)
    return least
