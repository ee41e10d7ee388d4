"""How large an image is: kernel and initramfs, without engine and with each; with a kernel of its own too."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from bench.setting import Built, Setting
from bench.table import Figure

_LAYERS = {
    "size-plain": ("virt/qemu",),
    "size-docker": ("virt/qemu", "engine/docker"),
    "size-podman": ("virt/qemu", "engine/podman"),
    "size-slim": ("virt/qemu", "util/slim"),
    "size-slim-docker": ("virt/qemu", "engine/docker", "util/slim"),
    "size-slim-podman": ("virt/qemu", "engine/podman", "util/slim"),
}

FIGURES = (
    Figure("size-plain", "kernel + initramfs, no engine", "MB", 22),
    Figure("size-docker", "kernel + initramfs, engine/docker", "MB", 78),
    Figure("size-podman", "kernel + initramfs, engine/podman", "MB", 38),
    Figure("size-slim", "kernel + initramfs, util/slim, no engine", "MB", 14),
    Figure("size-slim-docker", "kernel + initramfs, util/slim, engine/docker", "MB", 62),
    Figure("size-slim-podman", "kernel + initramfs, util/slim, engine/podman", "MB", 30),
)


def measure(setting: Setting) -> Iterator[Figure]:
    """Build each image and look at its files."""
    for figure in FIGURES:
        built = setting.image(*_LAYERS[figure.key])
        yield msgspec.structs.replace(figure, value=built.megabytes, note=_parts(built))


def _parts(built: Built) -> str:
    return ", ".join(f"{item.name} {item.bytes / 1e6:.1f}" for item in built.image.artefacts)
