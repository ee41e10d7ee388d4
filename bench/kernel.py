"""A kernel from source: how long it takes to compile, and when the cache has it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec

from bench.setting import Setting
from bench.table import Figure
from skiff.layers import resolve, search_path
from skiff.model.arch import Arch
from skiff.pipeline_linux import compiled_kernel, linux_package

_LAYERS = ("virt/qemu", "engine/podman", "util/slim")
# What a compilation starts from: it is in the tool's own cache, and stays there.
_SHARED = ("apt", "debs", "resolved", "sources", "unpacked-2")

FIGURES = (
    Figure("kernel-compile", "kernel from source, util/slim with engine/podman", "s", None),
    Figure("kernel-cached", "the same kernel, in the cache", "s", 2),
)


def measure(setting: Setting) -> Iterator[Figure]:
    """Compile with nothing but the source text in the cache, and ask for the same kernel again."""
    recipe = resolve(_LAYERS, Arch.AMD64, search_path())
    package = linux_package(recipe, setting.cache, None, setting.ui)
    cache = setting.empty("kernel")
    for name in _SHARED:
        (setting.cache / name).mkdir(exist_ok=True)
        (cache / name).symlink_to(setting.cache / name)
    for figure in FIGURES:
        started = time.monotonic()
        made = compiled_kernel(recipe, package, cache, None, False, setting.ui)
        assert made is not None
        note = f"{made.kernel.stat().st_size / 1e6:.1f} MB, one run"
        yield msgspec.structs.replace(figure, value=time.monotonic() - started, note=note)
