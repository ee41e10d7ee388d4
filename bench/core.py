"""What logging in to a container costs, against asking the engine for the same as root."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from statistics import median

import msgspec

from bench.setting import Setting
from bench.table import Figure
from skiff.host.run import run
from skiff.machine.qemu import Options
from tests.vm.environments import BOX, configure, enter

_BULK = 20_000_000

FIGURES = (
    Figure("core-log-in", "ssh core@device true against ssh root@device docker exec core true", "×", 1.15),
    # A rate of at least 0.9 of the other, as time.
    Figure("core-bulk", "20 MB through ssh core@device cat against docker exec", "×", 1.11),
)


def measure(setting: Setting) -> Iterator[Figure]:
    """Both ways in turn on one machine, each with a connection of its own."""
    built = setting.image("virt/qemu", "engine/docker", "core/debian")
    with setting.device(built, "core", Options(memory=1024)) as device:
        with setting.ui.step("boot core"):
            device.boot(300)
            device.wait_for_engine()
            device.succeed(BOX, timeout=300)
            configure(device)
        for figure, words, data, repeat in (
            (FIGURES[0], ("true",), b"", setting.times(15, 5)),
            (FIGURES[1], ("cat",), os.urandom(_BULK), setting.times(5, 3)),
        ):
            core = enter(device, *words)
            root = enter(device, "docker", "exec", "-i", "core", *words, user="root")
            with setting.ui.step(figure.key, total=repeat) as step:
                pairs = []
                for _ in range(repeat + 1):
                    pairs.append((_seconds(core, data), _seconds(root, data)))
                    step.advance()
            # The first of each only warms up.
            ratio = median(ours / theirs for ours, theirs in pairs[1:])
            ours, theirs = (median(pair[place] for pair in pairs[1:]) for place in (0, 1))
            note = f"{ours:.2f} s against {theirs:.2f} s, median of {repeat} pairs"
            yield msgspec.structs.replace(figure, value=ratio, note=note)


def _seconds(argv: Sequence[str], data: bytes) -> float:
    before = time.monotonic()
    done = run(argv, input=data, timeout=300)
    assert done.stdout == data
    return time.monotonic() - before
