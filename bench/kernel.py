"""A kernel from source: how long it takes to compile, and what each way to pack it would cost."""

from __future__ import annotations

import lzma
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.setting import Setting, timed
from bench.table import Figure
from skiff.host.run import run
from skiff.layers import resolve, search_path
from skiff.model.arch import Arch
from skiff.pipeline_linux import compiled_kernel, linux_package

_LAYERS = ("virt/qemu", "engine/podman", "util/slim")
# What a compilation starts from: it is in the tool's own cache, and stays there.
_SHARED = ("apt", "debs", "resolved", "sources", "unpacked-2")

FIGURES = (
    Figure("kernel-compile", "kernel from source, util/slim with engine/podman", "s", None),
    Figure("kernel-cached", "the same kernel, in the cache", "s", 2),
    Figure("kernel-xz", "the same kernel packed by xz, as it is", "MB", None),
    Figure("kernel-zstd", "packed by zstd", "MB", None),
    Figure("kernel-lz4", "packed by lz4", "MB", None),
)
# As the kernel's own makefiles call them.
_PACKERS = {
    "kernel-xz": ("xz", "--check=crc32", "--x86", "--lzma2=dict=128MiB"),
    "kernel-zstd": ("zstd", "-q", "-22", "--ultra"),
    "kernel-lz4": ("lz4", "-q", "-l", "-9"),
}
_XZ_MAGIC = b"\xfd7zXZ\0"


def measure(setting: Setting) -> Iterator[Figure]:
    """Compile with nothing but the source text in the cache, and ask for the same kernel again."""
    recipe = resolve(_LAYERS, Arch.AMD64, search_path())
    package = linux_package(recipe, setting.cache, None, setting.ui)
    cache = setting.empty("kernel")
    for name in _SHARED:
        (setting.cache / name).mkdir(exist_ok=True)
        (cache / name).symlink_to(setting.cache / name)
    for figure in FIGURES[:2]:
        started = time.monotonic()
        made = compiled_kernel(recipe, package, cache, None, False, setting.ui)
        assert made is not None
        note = f"{made.kernel.stat().st_size / 1e6:.1f} MB, one run"
        yield msgspec.structs.replace(figure, value=time.monotonic() - started, note=note)
    assert made is not None
    yield from _packed(setting, made.kernel)


def _packed(setting: Setting, kernel: Path) -> Iterator[Figure]:
    """What unpacks itself before it starts, packed by each program; the CPU time is this machine's."""
    image = kernel.read_bytes()
    folder = setting.empty("kernel-packed")
    plain = folder / "vmlinux"
    plain.write_bytes(lzma.LZMADecompressor().decompress(image[image.index(_XZ_MAGIC) :]))
    for figure in FIGURES[2:]:
        argv = _PACKERS[figure.key]
        packed = folder / figure.key
        with plain.open("rb") as source, packed.open("wb") as out:
            run([*argv, "-c"], stdin=source, stdout=out, timeout=1800)
        took = min(timed([argv[0], "-t", "-q", packed], {}, folder).cpu for _ in range(setting.times(5, 2)))
        note = f"unpacked in {took:.2f} s of CPU time, best of {setting.times(5, 2)}"
        yield msgspec.structs.replace(figure, value=packed.stat().st_size / 1e6, note=note)
