"""The smallest memory of a virtual machine in which an image still does its work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import msgspec

from bench.setting import Built, Setting
from bench.table import Figure
from skiff.machine.qemu import Options
from tests.vm.driver import Device, ProductFailure

# A machine with this much has plenty: it tells how long one should take. MiB.
_PLENTY = 1024
# One that is slower than this many times that has too little, even if it would come up in the end.
_PATIENCE = 4.0
# Seconds, so that a busy host alone does not look like too little memory.
_AT_LEAST = 60.0

FIGURES = (
    Figure("memory-ssh", "smallest memory, boots to SSH", "MiB", 128),
    Figure("memory-docker", "smallest memory, docker runs a container", "MiB", 384),
)


def measure(setting: Setting) -> Iterator[Figure]:
    """Search by halves. Each try is a first boot, with a blank persist disk."""
    searches = (
        (("virt/qemu",), _answers, 40, 256, 8),
        (("virt/qemu", "engine/docker"), _runs_container, 96, 768, 16),
    )
    for figure, (layers, does, low, high, step) in zip(FIGURES, searches, strict=True):
        built = setting.image(*layers)
        assert figure.limit is not None
        probe = _Probe(setting, built, does)
        found = smallest(probe, low=low, high=high, step=step, first=int(figure.limit))
        # Once could be luck: what was found must do it again.
        while found is not None and not setting.quick and not probe.again(found):
            found = found + step if found + step <= high else None
        how = f"in steps of {step} MiB, within {probe.limit:.0f} s"
        note = how if found else f"not even with {high} MiB; {how}"
        yield msgspec.structs.replace(figure, value=found, note=note)


def smallest(works: Callable[[int], bool], *, low: int, high: int, step: int, first: int) -> int | None:
    """The smallest of ``low``, ``low + step`` … ``high`` that works; None when ``high`` does not.

    Takes it that what is larger than one that works does too. ``first`` is tried first.
    """
    if first < high and works(first):
        high = first
    else:
        low = first + step if first < high else low
        if not works(high):
            return None
    # ``high`` works; below ``low`` nothing does, or nobody asks.
    while low < high:
        middle = low + (high - low) // (2 * step) * step
        if works(middle):
            high = middle
        else:
            low = middle + step
    return high


class _Probe:
    """Tries an image with some memory, and remembers what came of it."""

    def __init__(self, setting: Setting, built: Built, does: Callable[[Device, float], None]) -> None:
        self._setting = setting
        self._built = built
        self._does = does
        # Seconds for all that it has to do.
        self.limit = 600.0
        self.limit = max(_AT_LEAST, _PATIENCE * self._seconds(_PLENTY))

    def __call__(self, memory: int) -> bool:
        """Whether it works."""
        try:
            seconds = self._seconds(memory)
        except ProductFailure as failure:
            self._setting.ui.notice(f"  {memory} MiB: no ({str(failure).splitlines()[-1]})")
            return False
        self._setting.ui.notice(f"  {memory} MiB: yes, {seconds:.1f} s")
        return True

    def again(self, memory: int) -> bool:
        """Whether it works twice more."""
        return self(memory) and self(memory)

    def _seconds(self, memory: int) -> float:
        # A kernel that panics restarts at once, and QEMU ends instead: no need to wait for the limit.
        options = Options(memory=memory, append=("panic=-1",), extra=("-no-reboot",))
        what = " ".join(self._built.image.layers[1:])
        with (
            self._setting.ui.step(f"{what}, {memory} MiB"),
            self._setting.device(self._built, "memory", options) as device,
        ):
            started = time.monotonic()
            device.boot(self.limit)
            self._does(device, self.limit)
            return time.monotonic() - started


def _answers(device: Device, limit: float) -> None:
    """It still answers when all that starts after SSH has had its memory."""
    device.wait_for_persist(limit)
    device.wait_for_ssh(limit)


def _runs_container(device: Device, limit: float) -> None:
    device.succeed(f"skiff-selftest --timeout {limit:.0f}", timeout=limit + 30)
