"""How long `docker run` takes on a small machine, against one with plenty of memory."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

import msgspec

from bench.setting import Setting
from bench.table import Figure
from skiff.machine import qmp
from skiff.machine.qemu import Options
from tests.vm.driver import Device

_SMALL, _LARGE = 384, 1024

FIGURES = (Figure("docker-run", f"docker run, {_SMALL} MB against {_LARGE} MB", "×", 1.5),)

# An image of the device's own busybox; no registry is asked.
_MAKE_IMAGE = """
set -e
folder=$(mktemp -d)
mkdir "$folder/bin"
cp /usr/bin/busybox "$folder/bin/busybox"
ln -s busybox "$folder/bin/true"
tar -C "$folder" -cf - . | docker import - bench
rm -r "$folder"
"""

# Both readings are of the device's own clock, in steps of 10 ms (proc(5), uptime).
_RUN = """
read before rest </proc/uptime
docker run --rm --network none bench true || exit
read after rest </proc/uptime
echo "$before $after"
"""


def measure(setting: Setting) -> Iterator[Figure]:
    """Two machines, one stopped while the other is measured, take turns: they meet the same load."""
    built = setting.image("virt/qemu", "engine/docker")
    repeat = setting.times(5, 3)
    with (
        setting.device(built, "small", Options(memory=_SMALL)) as small,
        setting.device(built, "large", Options(memory=_LARGE)) as large,
    ):
        devices = (small, large)
        for device in devices:
            with setting.ui.step(f"boot {device.name}"):
                _prepare(device)
            _freeze(device)
        times: dict[str, list[float]] = {device.name: [] for device in devices}
        with setting.ui.step("docker run", total=2 * (repeat + 1)) as step:
            for _ in range(repeat + 1):
                for device in devices:
                    times[device.name].append(_thawed(device))
                    step.advance()
                setting.ui.notice(
                    "  " + ", ".join(f"{name} {taken[-1]:.2f} s" for name, taken in times.items())
                )
        for device in devices:
            _thaw(device)
    # The first one only warms up.
    first = {name: taken[0] for name, taken in times.items()}
    usual = {name: median(taken[1:]) for name, taken in times.items()}
    # Of each round its own ratio: what else the host does changes from round to round.
    ratio = median(few / many for few, many in zip(times["small"][1:], times["large"][1:], strict=True))
    note = (
        f"{usual['small']:.2f} s against {usual['large']:.2f} s, median of {repeat}; "
        f"the first one {first['small']:.1f} s against {first['large']:.1f} s"
    )
    yield msgspec.structs.replace(FIGURES[0], value=ratio, note=note)


def _prepare(device: Device) -> None:
    device.boot(300)
    device.wait_for_engine_to_answer(300)
    device.succeed(_MAKE_IMAGE, timeout=300)


def _thawed(device: Device) -> float:
    """Seconds of one `docker run` on a device that stands still before and after."""
    _thaw(device)
    before, after = device.succeed(_RUN, timeout=300).split()[-2:]
    _freeze(device)
    return float(after) - float(before)


def _freeze(device: Device) -> None:
    qmp.execute(device.files.qmp, "stop")


def _thaw(device: Device) -> None:
    qmp.execute(device.files.qmp, "cont")
