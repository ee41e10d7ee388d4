"""What all measurements share: folders, images, devices that always end, and how often to repeat."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from skiff.host.errors import UserError
from skiff.host.run import run
from skiff.host.ui import Ui
from skiff.image.assemble import load
from skiff.machine import kvm
from skiff.machine.qemu import Options
from skiff.model.arch import Arch
from skiff.model.image import Image
from skiff.model.workspace import Workspace
from tests.vm.driver import Device
from tests.vm.mirrors import mirror_for


class Built(msgspec.Struct, frozen=True):
    """An image and the key that logs in to it."""

    image: Image
    workspace: Workspace

    @property
    def megabytes(self) -> float:
        """Kernel and initramfs, in 10⁶ bytes."""
        return sum(self.image.artefact(name).bytes for name in ("kernel", "initramfs")) / 1e6


class Spent(msgspec.Struct, frozen=True, order=True):
    """What a program took: seconds on the clock, and of CPU time, its children's included."""

    seconds: float
    cpu: float


class Setting(msgspec.Struct, frozen=True):
    """One run of the benchmark."""

    # The tool's own cache, with the packages.
    cache: Path
    quick: bool
    ui: Ui

    @property
    def scratch(self) -> Path:
        """A folder for what the measurements write; on the cache's file system, for hard links."""
        return self.cache / "bench"

    def times(self, full: int, quick: int) -> int:
        """How often to repeat."""
        return quick if self.quick else full

    def empty(self, name: str) -> Path:
        """An empty folder within scratch."""
        folder = self.scratch / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def image(self, *layers: str, arch: Arch = Arch.AMD64) -> Built:
        """The image of these layers for a CPU, built with the tool's own cache unless it is there."""
        words = layers if arch is Arch.AMD64 else (*layers, "--arch", arch.value)
        name = "_".join(words).replace("/", "-")
        workspace = Workspace(name, self.scratch / "images" / name)
        with self.ui.step(f"image {' '.join(words)}"), mirror_for(arch) as mirror:
            build(workspace, self.cache, *words, *(("--mirror", mirror) if mirror else ()))
        image = load(workspace.image)
        if image is None:
            raise UserError(f"{workspace.image}: built, but there is no image")
        return Built(image, workspace)

    def accel(self, image: Image) -> str:
        """`kvm` or `tcg`, as `skiff run` chooses."""
        return kvm.choose(image, "auto", self.cache, lambda _: None)

    @contextmanager
    def device(self, built: Built, name: str, options: Options | None = None) -> Iterator[Device]:
        """A device that is switched off at first, with a blank persist disk; it ends with the block."""
        folder = self.empty(f"machines/{name}")
        device = Device(built.image, folder, built.workspace.private_key, name=name)
        device.accel = self.accel(built.image)
        device.options = options or Options()
        try:
            yield device
        finally:
            device.close()
            shutil.rmtree(folder, ignore_errors=True)


def machines_end_too() -> None:
    """Have this program tidy up when it is ended from outside, once: `timeout` says so twice."""

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)


def build(workspace: Workspace, cache: Path, *words: str, verb: str = "build") -> Spent:
    """Run `skiff build`, or another verb that builds; what it took, start of Python included."""
    environment = {
        "SKIFF_WORKSPACES": str(workspace.root.parent),
        "SKIFF_WORKSPACE": workspace.name,
        "SKIFF_CACHE": str(cache),
        "SKIFF_CONFIG": "",
        "SKIFF_EXTRA_CONFIGS_PATH": "",
    }
    # Run where no folder `overrides` is in force.
    workspace.root.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "skiff", verb, "--quiet", "--no-user-keys", *words]
    return timed(argv, environment, workspace.root)


def timed(argv: Sequence[str | Path], environment: Mapping[str, str], folder: Path) -> Spent:
    """Run a program in a folder; what it took. Raises CommandError when it fails."""
    started, before = time.monotonic(), _cpu()
    run(argv, env=environment, input=b"", cwd=folder, timeout=1800)
    return Spent(time.monotonic() - started, _cpu() - before)


def _cpu() -> float:
    """CPU seconds of all programs run to their end so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def host_facts() -> dict[str, str]:
    """What a reader must know of this machine to judge the numbers."""
    return {
        "cpus": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
    }
