"""How large each board's image is, with Wi-Fi and small, and how long a disk image takes of cached parts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from statistics import median

import msgspec

from bench.setting import Setting, build
from bench.table import Figure
from skiff.image.boot_kernel import prepare
from skiff.model.arch import Arch

_LIMITS = {Arch.ARMHF: 30, Arch.ARM64: 34}
_BOARDS = {
    "u": Arch.ARMHF,
    "xu": Arch.ARMHF,
    "c2": Arch.ARM64,
    "c4": Arch.ARM64,
    "hc4": Arch.ARM64,
    "n2": Arch.ARM64,
    "m1": Arch.ARM64,
}
# The dongles that HardKernel sells are Realtek's.
_WIFI = "net/wifi-realtek"
_DISK_OF = "c4"
# With a kernel of their own, containers and user environments.
_SLIM = ("engine/podman", "core/debian", _WIFI, "util/slim")
_SLIM_BOARDS = ("xu", "c2")

_SIZES = tuple(
    Figure(
        f"size-{board}", f"kernel + initramfs + device trees, odroid/{board} with Wi-Fi", "MB", _LIMITS[arch]
    )
    for board, arch in _BOARDS.items()
)
_SLIM_SIZES = tuple(
    Figure(
        f"size-{board}-slim",
        f"kernel + initramfs + device trees, odroid/{board} with util/slim, podman, core, Wi-Fi",
        "MB",
        36,
    )
    for board in _SLIM_BOARDS
)
_DISK = Figure("disk", f"disk image of odroid/{_DISK_OF} with Wi-Fi, from cached parts", "s", 20)

FIGURES = (*_SIZES, *_SLIM_SIZES, _DISK)


def measure(setting: Setting) -> Iterator[Figure]:
    """One board after the other; then the disk image of one, again and again."""
    for figure, board in zip(_SIZES, _BOARDS, strict=True):
        yield _size(setting, figure, board, _WIFI)
    for figure, board in zip(_SLIM_SIZES, _SLIM_BOARDS, strict=True):
        yield _size(setting, figure, board, *_SLIM)
    yield _disk(setting)


def _size(setting: Setting, figure: Figure, board: str, *layers: str) -> Figure:
    arch = _BOARDS[board]
    image = setting.image(f"odroid/{board}", *layers, arch=arch).image
    # U-Boot gets the kernel of arm64 packed.
    kernel = prepare(image.artefact("kernel").path, arch, "uboot", setting.cache).path.stat().st_size / 1e6
    initramfs = image.artefact("initramfs").bytes / 1e6
    trees = sum(item.bytes for item in image.artefacts if item.name.startswith("dtbs/")) / 1e6
    note = f"kernel {kernel:.1f}, initramfs {initramfs:.1f}, device trees {trees:.1f}"
    return msgspec.structs.replace(figure, value=kernel + initramfs + trees, note=note)


def _disk(setting: Setting) -> Figure:
    """Image and disk image are made anew, of packed parts that the cache holds."""
    words = (f"odroid/{_DISK_OF}", _WIFI, "--arch", _BOARDS[_DISK_OF].value)
    workspace = setting.image(*words[:2], arch=_BOARDS[_DISK_OF]).workspace
    with setting.ui.step("U-Boot, once"):
        build(workspace, setting.cache, *words, verb="disk")
    times = []
    repeat = setting.times(3, 1)
    with setting.ui.step("disk images", total=repeat) as step:
        for _ in range(repeat):
            for folder in (workspace.image, workspace.disk):
                shutil.rmtree(folder, ignore_errors=True)
            times.append(build(workspace, setting.cache, *words, verb="disk"))
            step.advance()
    note = f"median of {len(times)}, {median(spent.cpu for spent in times):.1f} s of CPU"
    return msgspec.structs.replace(_DISK, value=median(spent.seconds for spent in times), note=note)
