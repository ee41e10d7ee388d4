"""What `skiff port` costs beside the builder itself: the same files, the same engine, for another CPU."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import msgspec

from bench.setting import Setting, timed
from bench.table import Figure
from tests.vm.port_world import DOCKER, EMULATED, World, world

FIGURES = (Figure("port-build", "port of three images against plain docker build --platform", "×", 1.1),)
# Something to do for each image, under emulation: a figure of seconds, as compiling would be.
_WORK = "RUN i=0; while [ $i -lt 40000 ]; do i=$((i + 1)); echo $i; done | sha256sum >/work-{name}\n"


def measure(setting: Setting) -> Iterator[Figure]:
    """Both in turn, each with an empty cache."""
    repeat = setting.times(5, 3)
    with world() as net, setting.ui.step("port", total=repeat) as step:
        net.add_tiny()
        folders = _three(net)
        # Emulation is set up, and the repositories are read, before anything is measured.
        net.port("tiny:1", "--arch", "arm64", "--load", EMULATED)
        pairs = []
        for _ in range(repeat):
            pairs.append((_port(net, folders[-1]), _plain(net, folders)))
            step.advance()
    ours, theirs = (median(pair[place] for pair in pairs) for place in (0, 1))
    note = f"{ours:.1f} s against {theirs:.1f} s, median of {repeat} pairs; with planning and proof"
    yield msgspec.structs.replace(FIGURES[0], value=median(one / other for one, other in pairs), note=note)


def _three(net: World) -> list[Path]:
    """Three images, each based on the one before; the last as a folder, the others in the library."""
    folders = [net.folder / "tiny" / "arm64v8"]
    base = "tiny:1"
    for name in ("low", "mid", "top"):
        folder = net.folder_of(name, {"Dockerfile": f"FROM {base}\n" + _WORK.format(name=name)})
        folders.append(folder)
        base = f"{name}:1"
    return folders


def _port(net: World, top: Path) -> float:
    _forget(net)
    sources = [word for name in ("low", "mid") for word in ("--source", f"{name}:1={net.folder / name}")]
    words = net.argv(f"{top}/", "--arch", "arm64", "--tag", "top:1", "--load", "--quiet", *sources)
    return timed(words, net.env, net.folder).seconds


def _plain(net: World, folders: list[Path]) -> float:
    _forget(net)
    seconds = 0.0
    for folder in folders:
        name = "tiny" if folder.parent.name == "tiny" else folder.name
        words = [
            DOCKER,
            "build",
            "--platform",
            "linux/arm64",
            "--network",
            "host",
            "--tag",
            f"{name}:1",
            str(folder),
        ]
        seconds += timed(words, {**net.env, "DOCKER_BUILDKIT": "1"}, net.folder).seconds
    return seconds


def _forget(net: World) -> None:
    """Nothing is built, for either of them."""
    shutil.rmtree(net.folder / "cache" / "port" / "results", ignore_errors=True)
    images = net.docker("images", "--quiet", "--no-trunc").split()
    if images:
        net.docker("rmi", "--force", *dict.fromkeys(images))
    net.docker("builder", "prune", "--all", "--force")
