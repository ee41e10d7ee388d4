"""What updates cost: bytes for one more package, time until confirmed, and the image's check at each boot."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import msgspec

from bench.setting import Built, Setting, build
from bench.table import Figure
from skiff import pipeline
from skiff.host.errors import UserError
from skiff.image.assemble import load
from skiff.image.disk import write_disk
from skiff.image.slot import write_slot
from skiff.machine.push import Done, Wish, push, restart_only
from skiff.machine.qemu import Options
from skiff.model.firmware import Boot
from skiff.model.workspace import Workspace
from tests.vm.driver import Device
from tests.vm.updates import boot_and_keep_key, remote

_LAYERS = ("pc/uefi",)
# Small, and nothing else needs them.
_PACKAGES = ("tree", "pv", "dos2unix")

_BYTES = Figure("update-bytes", "bytes sent for one package more, of the image", "×", 0.15)
_TIME = Figure("update-time", "update, from the order to confirmed, against a plain restart", "×", 1.5)
_VERIFY = Figure("update-verify", "checking the image at boot, before SSH", "s")
FIGURES = (_BYTES, _TIME, _VERIFY)

# What /init does, which has other work to do meanwhile: this is the most that it costs.
_CHECK = """cd /run/skiff/parts; cut -c67- first.sha256 | xargs du -ck | awk 'END { print $1 }'
read -r before _ </proc/uptime
sha256sum -c -s first.sha256
read -r after _ </proc/uptime
echo $before $after"""


def measure(setting: Setting) -> Iterator[Figure]:
    """One machine: a plain restart and an update with one package more, in turn.

    What a starting machine does not hear is sent again after 1, 3 and 7 s (tcp(7)), so each takes seconds
    more or less as chance has it: medians.
    """
    before = setting.image(*_LAYERS)
    packages = _PACKAGES[: setting.times(3, 1)]
    images = [_with_packages(setting, packages[: number + 1]) for number in range(len(packages))]
    made, _ = write_disk(setting.empty("update-disk"), before.image, {}, setting.cache, lambda _: None)
    firmware = pipeline.firmware_for(before.image, setting.cache, pipeline.Options(), setting.ui)
    options = Options(boot=Boot(firmware, made), persist_bytes=512 << 20)
    plain, updates = [], []
    with setting.device(before, "update", options) as device:
        boot_and_keep_key(device)
        yield _verification(device, setting.times(5, 3))
        for built in images:
            plain.append(restart_only(remote(device), time.monotonic() + 300))
            device.wait_for_persist()
            updates.append(_update(setting, device, built))
            device.wait_for_persist()
    most = max((done for _, done in updates), key=lambda done: done.sent / done.bytes)
    yield msgspec.structs.replace(
        _BYTES,
        value=most.sent / most.bytes,
        note=f"{most.sent / 1e6:.2f} of {most.bytes / 1e6:.1f} MB, the most of {' and '.join(packages)}",
    )
    whole = median(seconds for seconds, _ in updates)
    restart = median(done.seconds for _, done in updates)
    yield msgspec.structs.replace(
        _TIME,
        value=whole / median(plain),
        note=f"medians of {len(plain)}: {whole:.1f} s, {restart:.1f} s of it from restart to confirmed,"
        f" against {median(plain):.1f} s",
    )


def _update(setting: Setting, device: Device, built: Built) -> tuple[float, Done]:
    """Push an image; how many seconds that took in all."""
    with tempfile.TemporaryDirectory(dir=setting.scratch) as folder:
        write_slot(Path(folder), built.image, setting.cache)
        started = time.monotonic()
        done = push(remote(device), Path(folder), Wish(), setting.ui)
        return time.monotonic() - started, done


def _verification(device: Device, rounds: int) -> Figure:
    """Seconds for the sums of the parts that SSH needs."""
    device.wait_for_persist()
    answers = [[float(word) for word in device.succeed(_CHECK).split()] for _ in range(rounds)]
    seconds = median(after - before for _, before, after in answers)
    note = f"median of {rounds}; {answers[0][0] * 1024 / 1e6:.1f} MB, beside the loading of modules"
    return msgspec.structs.replace(_VERIFY, value=seconds, note=note)


def _with_packages(setting: Setting, packages: Sequence[str]) -> Built:
    """The same image with these packages more."""
    name = f"update-{len(packages)}"
    layer = setting.empty(f"{name}-layer")
    names = ", ".join(f'"{package}"' for package in packages)
    (layer / "layer.toml").write_text(f'description = "Packages more"\n[debian]\npackages = [{names}]\n')
    workspace = Workspace(name, setting.scratch / "images" / name)
    with setting.ui.step(f"image with {' and '.join(packages)}"):
        build(workspace, setting.cache, *_LAYERS, str(layer))
    image = load(workspace.image)
    if image is None:
        raise UserError(f"{workspace.image}: built, but there is no image")
    return Built(image, workspace)
