"""How long from power-on to an SSH command, as a multiple of what the kernel alone takes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import msgspec

from bench.setting import Built, Setting
from bench.table import Figure
from skiff.builders.debian.unpack import FOLDER
from skiff.host.errors import UserError
from skiff.host.run import run
from skiff.image.assemble import load_manifest
from skiff.image.cpio import write_cpio
from skiff.machine.process import Process
from skiff.machine.qemu import Options
from skiff.model.image import Artefact
from skiff.model.tree import Entry, Kind
from tests.vm.driver import Device

_LAYERS = {
    "boot-plain": ("virt/qemu",),
    "boot-docker": ("virt/qemu", "engine/docker"),
}

FIGURES = (
    Figure("boot-plain", "power-on to SSH against bare kernel, no engine", "×", 2.0),
    Figure("boot-docker", "power-on to SSH against bare kernel, engine/docker", "×", 2.0),
)

# Seconds after which a start counts as failed.
_PATIENT = 300
_REACHED = "the empty init runs"
_INIT = f"#!/bin/busybox sh\necho {_REACHED}\nexec /bin/busybox poweroff -f\n"


def measure(setting: Setting) -> Iterator[Figure]:
    """On this machine's usual target."""
    yield from against_bare(setting, FIGURES, [setting.image(*_LAYERS[figure.key]) for figure in FIGURES])


def against_bare(setting: Setting, figures: Sequence[Figure], builds: Sequence[Built]) -> Iterator[Figure]:
    """One start of each image in turn, so that all meet the same load; medians at the end.

    The images have the same kernel; the first one's is started bare.
    """
    bare: list[float] = []
    times: list[list[float]] = [[] for _ in builds]
    rounds = setting.times(15, 3)
    with ExitStack() as ends:
        options = Options(extra=("-no-reboot",))
        empty = ends.enter_context(setting.device(_bare(builds[0], setting), "bare", options))
        devices = [
            ends.enter_context(setting.device(built, figure.key))
            for figure, built in zip(figures, builds, strict=True)
        ]
        for device in devices:
            _first_boot(device, setting)
        with setting.ui.step("starts", total=(1 + len(devices)) * rounds) as step:
            for _ in range(rounds):
                bare.append(_to_power_off(empty))
                step.advance()
                for device, taken in zip(devices, times, strict=True):
                    taken.append(_to_ssh(device))
                    step.advance()
                answers = ", ".join(f"{taken[-1]:.2f} s" for taken in times)
                setting.ui.notice(f"  bare {bare[-1]:.2f} s, SSH {answers}")
    accel = setting.accel(builds[0].image)
    for figure, taken in zip(figures, times, strict=True):
        yield _figure(figure, taken, bare, accel)


def _figure(figure: Figure, ours: Sequence[float], bare: Sequence[float], accel: str) -> Figure:
    # Of each round its own ratio: what else the host does changes from round to round.
    ratio = median(own / empty for own, empty in zip(ours, bare, strict=True))
    note = f"median of {len(bare)}; {median(ours):.1f} s against {median(bare):.1f} s, {accel}"
    return msgspec.structs.replace(figure, value=ratio, note=note)


def _first_boot(device: Device, setting: Setting) -> None:
    """The first boot makes the persist partition; those that are measured find it."""
    with setting.ui.step(f"first boot, {device.name}"):
        device.boot(_PATIENT)
        device.wait_for_persist()
        if device.image.engine:
            device.wait_for_engine()
        device.shut_down()


def _to_ssh(device: Device) -> float:
    seconds = device.boot(_PATIENT)
    device.cut_power()
    return seconds


def _to_power_off(device: Device) -> float:
    """Seconds from power-on until the machine has powered off by itself."""
    started = time.monotonic()
    device.start()
    found = Process.find(device.files)
    if found is not None:
        with found:
            if not found.wait(_PATIENT):
                raise UserError("the bare kernel does not power off", hint=str(device.files.console_log))
    seconds = time.monotonic() - started
    if _REACHED not in device.console():
        raise UserError(f"the bare kernel did not reach its init:\n{device.files.console_tail()}")
    return seconds


def _bare(built: Built, setting: Setting) -> Built:
    """The same machine and kernel with an initramfs that holds nothing but an init that powers off."""
    initramfs = _empty_initramfs(built, setting)
    other = Artefact("initramfs", initramfs, initramfs.stat().st_size, "bare")
    image = msgspec.structs.replace(
        built.image, artefacts=(built.image.artefact("kernel"), other), recipe_sha256="bare"
    )
    return Built(image, built.workspace)


def _empty_initramfs(built: Built, setting: Setting) -> Path:
    folder = setting.empty("bare-initramfs")
    busybox = _busybox(built, setting)
    entries = [
        ("bin", Entry(Kind.DIR, 0o755, "bench")),
        ("dev", Entry(Kind.DIR, 0o755, "bench")),
        ("dev/console", Entry(Kind.CHAR, 0o600, "bench", device=(5, 1))),
        ("bin/busybox", Entry(Kind.FILE, 0o755, "bench", source=busybox)),
        ("init", Entry(Kind.FILE, 0o755, "bench", source=_INIT.encode())),
    ]
    plain, packed = folder / "initramfs.cpio", folder / "initramfs"
    with plain.open("wb") as out:
        write_cpio(out, entries, built.image.epoch)
    run(["zstd", "-q", "-19", "-o", packed, plain])
    return packed


def _busybox(built: Built, setting: Setting) -> Path:
    """The image's own busybox, from the tool's cache of unpacked packages."""
    packages = load_manifest(built.workspace.image).packages
    found = next(item for item in packages if item.name == "busybox-static")
    return setting.cache / FOLDER / found.sha256 / "files/usr/bin/busybox"
