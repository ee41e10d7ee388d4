"""What a builder hands on to the image."""

from __future__ import annotations

from pathlib import Path

import msgspec

from skiff.builders.kernel import Kernel
from skiff.model.tree import Tree


class Built(msgspec.Struct, frozen=True):
    """What a builder hands on: the whole root file system, the kernel, and what boot reads first."""

    tree: Tree
    kernel: Kernel
    # Paths that boot reads before SSH answers: kept unpacked in the initramfs.
    early: frozenset[str]
    # What goes to the boot partition besides the kernel: file by artefact name.
    boot: dict[str, Path]
    # The layer that each file is there for, by path; of modules of `/init` as `modules/NAME.ko`.
    owners: dict[str, str] = {}
    # What is left to the user's judgement, a line each.
    warnings: tuple[str, ...] = ()
