"""How long builds take: with nothing but packages, after a change, and when there is nothing to do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import msgspec

from bench.setting import Setting, Spent, build
from bench.table import Figure
from skiff.model.workspace import Workspace

_LAYERS = ("virt/qemu", "engine/docker")

FIGURES = (
    Figure("build-packages", "build, packages in the cache", "s", 45),
    Figure("build-changed", "rebuild, one file of an overlay changed", "s", 6),
    Figure("build-same", "rebuild, nothing changed", "s", 1),
)


def measure(setting: Setting) -> Iterator[Figure]:
    """Build from packages; then with a layer of one file, changed again and again; then without a change."""
    # Brings package files and lists into the tool's cache.
    setting.image(*_LAYERS)
    packages, changed, same = FIGURES
    repeat = setting.times(3, 1)
    times = [from_packages(setting, *_LAYERS, number=number + 1) for number in range(repeat)]
    yield _figure(packages, times)
    layer = _layer(setting.empty("layer"))
    workspace = Workspace("changed", setting.empty("workspaces/changed"))
    words = (*_LAYERS, str(layer))
    build(workspace, setting.cache, *words)
    repeat = setting.times(5, 3)
    times = []
    with setting.ui.step("rebuilds after a change", total=repeat) as step:
        for number in range(repeat):
            (layer / "rootfs/etc/note").write_text(f"change {number}\n")
            times.append(build(workspace, setting.cache, *words))
            step.advance()
    yield _figure(changed, times)
    with setting.ui.step("rebuilds without a change", total=repeat) as step:
        times = []
        for _ in range(repeat):
            times.append(build(workspace, setting.cache, *words))
            step.advance()
    yield _figure(same, times)


def from_packages(setting: Setting, *layers: str, number: int = 1) -> Spent:
    """One build with a cache that holds packages and package lists only."""
    cache = setting.empty("cache")
    workspace = Workspace("fresh", setting.empty("workspaces/fresh"))
    # Package files never change under one name; lists and answers are rewritten, so they are copied.
    (cache / "debs").mkdir()
    for file in (setting.cache / "debs").glob("*.deb"):
        (cache / "debs" / file.name).hardlink_to(file)
    for name in ("apt", "resolved"):
        shutil.copytree(setting.cache / name, cache / name)
    with setting.ui.step(f"build {', '.join(layers)} from packages, number {number}"):
        spent = build(workspace, cache, *layers)
    shutil.rmtree(cache)
    shutil.rmtree(workspace.root)
    return spent


def _figure(figure: Figure, times: list[Spent]) -> Figure:
    how = f"median of {len(times)}" if len(times) > 1 else "one run"
    cpu = median(spent.cpu for spent in times)
    return msgspec.structs.replace(
        figure, value=median(spent.seconds for spent in times), note=f"{how}, {cpu:.1f} s of CPU"
    )


def _layer(folder: Path) -> Path:
    """A layer out of tree, with one file."""
    layer = folder / "bench" / "note"
    (layer / "rootfs/etc").mkdir(parents=True)
    (layer / "layer.toml").write_text('description = "One file that changes"\n')
    (layer / "rootfs/etc/note").write_text("first\n")
    return layer
