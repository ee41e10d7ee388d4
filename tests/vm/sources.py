"""The words of `skiff build` for an image from source, shared by test and benchmark."""

from __future__ import annotations

import os

from skiff.model.arch import Arch

LAYERS = ("virt/qemu",)
# Debian's compiler for it is a cross compiler on most machines, and can be taken.
CPU = Arch.ARM64


def words_for_source() -> tuple[str, ...]:
    """The words of `skiff build` for an image from source."""
    layer = os.environ.get("SKIFF_SOURCE_LAYER")
    layers = (*LAYERS, layer) if layer else LAYERS
    return (*layers, "--arch", CPU.value, "--builder", "buildroot")


def chosen(words: tuple[str, ...]) -> tuple[str, ...]:
    """What a test gets for ``words``: with SKIFF_TEST_FROM_SOURCE set, virt/qemu is the compiled one."""
    return words_for_source() if words == LAYERS and os.environ.get("SKIFF_TEST_FROM_SOURCE") else words


def workspace_name(words: tuple[str, ...]) -> str:
    """Name of the workspace that tests build these words in."""
    return "".join(char if char.isalnum() else "-" for char in "_".join(words)).strip("-")
