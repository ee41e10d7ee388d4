"""Images from source: how long configuration takes, a build without a change, and how large it gets."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import msgspec

from bench.setting import Setting, build
from bench.table import Figure
from skiff.builders.buildroot.build import How, configure
from skiff.host.errors import UserError
from skiff.image.assemble import load
from skiff.layers import resolve, search_path
from skiff.model.workspace import Workspace
from tests.vm.sources import CPU, LAYERS, words_for_source, workspace_name

FIGURES = (
    Figure("source-configure", "configure from source: layers to Buildroot's .config", "s", 5),
    Figure("source-same", "build from source, nothing changed", "s", 10),
    Figure("source-size", "kernel + initramfs from source, arm64, no engine", "MB", None),
)


def measure(setting: Setting) -> Iterator[Figure]:
    """Configure anew each time; then look at a build of before, which takes too long to be made here.

    BUILDROOT names the tree. SKIFF_SOURCE_LAYER names a layer with where sources are, when they are not to be
    fetched; the VM test of the builder leaves a finished build in the cache.
    """
    tree = os.environ.get("BUILDROOT")
    if not tree:
        raise UserError("BUILDROOT names no tree of Buildroot", hint="export BUILDROOT=DIR")
    configured, same, size = FIGURES
    yield _configured(configured, setting, Path(tree))
    words = words_for_source()
    name = workspace_name(words)
    workspace = Workspace(name, setting.cache / "test-workspaces" / name)
    if load(workspace.image) is None:
        raise UserError(
            f"{workspace.root}: there is no build from source",
            hint="pytest -m vm tests/vm/test_buildroot.py makes it",
        )
    repeat = setting.times(3, 1)
    spent = [build(workspace, setting.cache, *words) for _ in range(repeat)]
    yield msgspec.structs.replace(
        same, value=median(one.seconds for one in spent), note=f"median of {repeat}"
    )
    image = load(workspace.image)
    assert image is not None
    debian = setting.image(*LAYERS, arch=CPU)
    total = sum(image.artefact(name).bytes for name in ("kernel", "initramfs")) / 1e6
    yield msgspec.structs.replace(size, value=total, note=f"{debian.megabytes:.1f} MB of Debian's packages")


def _configured(figure: Figure, setting: Setting, tree: Path) -> Figure:
    recipe = resolve(LAYERS, CPU, search_path(), builder="buildroot")
    times = []
    for _ in range(setting.times(3, 1)):
        folder = setting.empty("source")
        started = time.monotonic()
        configure(recipe, folder, setting.cache, How(tree))
        times.append(time.monotonic() - started)
    note = f"median of {len(times)}, in a new folder"
    return msgspec.structs.replace(figure, value=median(times), note=note)
