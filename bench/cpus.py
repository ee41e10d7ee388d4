"""How long from power-on to an SSH command on other CPUs, as a multiple of what the kernel alone takes."""

from __future__ import annotations

from collections.abc import Iterator

from bench.boot import against_bare
from bench.setting import Setting
from bench.table import Figure
from skiff.model.arch import Arch

FIGURES = (
    Figure("boot-arm64", "power-on to SSH against bare kernel, arm64, no engine", "×", 2.0),
    Figure("boot-armhf", "power-on to SSH against bare kernel, armhf, no engine", "×"),
    Figure("boot-riscv64", "power-on to SSH against bare kernel, riscv64, no engine", "×"),
)


def measure(setting: Setting) -> Iterator[Figure]:
    """One CPU after the other."""
    for figure in FIGURES:
        arch = Arch(figure.key.removeprefix("boot-"))
        yield from against_bare(setting, [figure], [setting.image("virt/qemu", arch=arch)])
