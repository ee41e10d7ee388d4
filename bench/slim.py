"""What the small image takes besides bytes: time to SSH, and memory when nothing is asked of it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from bench.boot import against_bare
from bench.setting import Built, Setting
from bench.table import Figure

_LAYERS = ("virt/qemu", "util/slim")
# Of the machine whose memory is looked at, MiB.
_MEMORY = 256

_BOOT = Figure("boot-slim", "power-on to SSH against bare kernel, util/slim, no engine", "×", 1.6)
_IDLE = Figure("idle-slim", "memory used at idle, util/slim, no engine, besides the image", "MB", 32)
FIGURES = (_BOOT, _IDLE)

# What is used and could not be had for something else (proc_meminfo(5)), in KiB.
_USED = "awk '/^MemTotal:/ { all = $2 } /^MemAvailable:/ { print all - $2 }' /proc/meminfo"


def measure(setting: Setting) -> Iterator[Figure]:
    """The time first, then one machine that is left alone."""
    built = setting.image(*_LAYERS)
    yield from against_bare(setting, [_BOOT], [built])
    yield _idle(setting, built)


def _idle(setting: Setting, built: Built) -> Figure:
    with setting.device(built, "idle") as device:
        device.start(memory=_MEMORY)
        device.wait_for_ssh(300)
        device.wait_for_persist(300)
        device.wait_for_unit("services", "running", 300)
        used = int(device.succeed(_USED)) * 1024 / 1e6
    note = f"{used:.1f} MB of {_MEMORY} MiB, image {built.megabytes:.1f}"
    return msgspec.structs.replace(_IDLE, value=used - built.megabytes, note=note)
