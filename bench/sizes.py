"""How large an image is, without engine and with each, and with a kernel of its own on several CPUs."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from bench.setting import Built, Setting
from bench.table import Figure
from skiff.model.arch import Arch

_SLIM_PODMAN = ("virt/qemu", "engine/podman", "util/slim")
_LAYERS = {
    "size-plain": ("virt/qemu",),
    "size-docker": ("virt/qemu", "engine/docker"),
    "size-podman": ("virt/qemu", "engine/podman"),
    "size-slim": ("virt/qemu", "util/slim"),
    "size-slim-docker": ("virt/qemu", "engine/docker", "util/slim"),
    "size-slim-podman": _SLIM_PODMAN,
    "size-slim-podman-arm64": _SLIM_PODMAN,
    "size-slim-podman-armhf": _SLIM_PODMAN,
}
# All others are amd64's.
_ARCHES = {"size-slim-podman-arm64": Arch.ARM64, "size-slim-podman-armhf": Arch.ARMHF}

FIGURES = (
    Figure("size-plain", "kernel + initramfs, no engine", "MB", 22),
    Figure("size-docker", "kernel + initramfs, engine/docker", "MB", 78),
    Figure("size-podman", "kernel + initramfs, engine/podman", "MB", 38),
    Figure("size-slim", "kernel + initramfs, util/slim, no engine", "MB", 14),
    Figure("size-slim-docker", "kernel + initramfs, util/slim, engine/docker", "MB", 62),
    Figure("size-slim-podman", "kernel + initramfs, util/slim, engine/podman", "MB", 30),
    *(
        Figure(key, f"kernel + initramfs, {arch.value}, util/slim, engine/podman", "MB", 30)
        for key, arch in _ARCHES.items()
    ),
)


def measure(setting: Setting) -> Iterator[Figure]:
    """Build each image and look at its files."""
    for figure in FIGURES:
        built = setting.image(*_LAYERS[figure.key], arch=_ARCHES.get(figure.key, Arch.AMD64))
        yield msgspec.structs.replace(figure, value=built.megabytes, note=_parts(built))


def _parts(built: Built) -> str:
    return ", ".join(f"{item.name} {item.bytes / 1e6:.1f}" for item in built.image.artefacts)
