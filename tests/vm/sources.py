"""The words of `skiff build` for images of tests, and for one from source, which a benchmark makes too."""

from __future__ import annotations

import os

from skiff.model.arch import Arch

LAYERS = ("virt/qemu",)
# What tests have besides, unless they are about the image as it is shipped.
QUICK = "util/quick"
# Debian's compiler for it is a cross compiler on most machines, and can be taken.
CPU = Arch.ARM64


def words_for_source(*more: str) -> tuple[str, ...]:
    """The words of `skiff build` for an image from source, with ``more`` layers."""
    layer = os.environ.get("SKIFF_SOURCE_LAYER")
    layers = (*LAYERS, *more, layer) if layer else (*LAYERS, *more)
    return (*layers, "--arch", CPU.value, "--builder", "buildroot")


def chosen(words: tuple[str, ...], *, shipped: bool = False) -> tuple[str, ...]:
    """The words of `skiff build` for what a test asks for by ``words``.

    An image packed with zstd is made sooner, and an emulated machine is up sooner: all are that are not
    ``shipped``.
    With SKIFF_TEST_FROM_SOURCE set, virt/qemu is the compiled one. With SKIFF_TEST_WITH set, images for QEMU
    have the layer that it names besides, such as util/slim; for CPUs that it is not for they do not build.
    """
    if words == LAYERS and os.environ.get("SKIFF_TEST_FROM_SOURCE"):
        return words_for_source()
    wanted = [] if shipped else [QUICK]
    if words[0] in LAYERS:
        wanted += filter(None, [os.environ.get("SKIFF_TEST_WITH")])
    options = next((place for place, word in enumerate(words) if word.startswith("--")), len(words))
    return (*words[:options], *(layer for layer in wanted if layer not in words), *words[options:])


def workspace_name(words: tuple[str, ...]) -> str:
    """Name of the workspace that tests build these words in."""
    return "".join(char if char.isalnum() else "-" for char in "_".join(words)).strip("-")
