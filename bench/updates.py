"""What updates cost: bytes for one more package, time until confirmed, and the image's check at each boot."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
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
from skiff.machine.push import Wish, push, restart_only
from skiff.machine.qemu import Options
from skiff.model.firmware import Boot
from skiff.model.workspace import Workspace
from tests.vm.driver import Device
from tests.vm.updates import boot_and_keep_key, remote

_LAYERS = ("pc/uefi",)
# Small, and nothing else needs it.
_PACKAGE = "tree"

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
    """One machine: plain restarts, then an update with one package more."""
    before, after = setting.image(*_LAYERS), _with_package(setting)
    made, _ = write_disk(setting.empty("update-disk"), before.image, {}, setting.cache, lambda _: None)
    firmware = pipeline.firmware_for(before.image, setting.cache, pipeline.Options(), setting.ui)
    options = Options(boot=Boot(firmware, made), persist_bytes=512 << 20)
    with (
        setting.device(before, "update", options) as device,
        tempfile.TemporaryDirectory(dir=setting.scratch) as folder,
    ):
        write_slot(Path(folder), after.image, setting.cache)
        boot_and_keep_key(device)
        yield _verification(device, setting.times(5, 3))
        plain = min(restart_only(remote(device), time.monotonic() + 300) for _ in range(setting.times(3, 1)))
        device.wait_for_persist()
        started = time.monotonic()
        done = push(remote(device), Path(folder), Wish(), setting.ui)
        whole = time.monotonic() - started
    yield msgspec.structs.replace(
        _BYTES,
        value=done.sent / done.bytes,
        note=f"{done.sent / 1e6:.2f} of {done.bytes / 1e6:.1f} MB, package {_PACKAGE}",
    )
    yield msgspec.structs.replace(
        _TIME,
        value=whole / plain,
        note=f"{whole:.1f} s, {done.seconds:.1f} s of it from restart to confirmed, against {plain:.1f} s",
    )


def _verification(device: Device, rounds: int) -> Figure:
    """Seconds for the sums of the parts that SSH needs."""
    device.wait_for_persist()
    answers = [[float(word) for word in device.succeed(_CHECK).split()] for _ in range(rounds)]
    seconds = median(after - before for _, before, after in answers)
    note = f"median of {rounds}; {answers[0][0] * 1024 / 1e6:.1f} MB, beside the loading of modules"
    return msgspec.structs.replace(_VERIFY, value=seconds, note=note)


def _with_package(setting: Setting) -> Built:
    """The same image with one package more."""
    layer = setting.empty("update-layer")
    (layer / "layer.toml").write_text(
        f'description = "One package more"\n[debian]\npackages = ["{_PACKAGE}"]\n'
    )
    workspace = Workspace("update", setting.scratch / "images" / "update")
    with setting.ui.step("image with one package more"):
        build(workspace, setting.cache, *_LAYERS, str(layer))
    image = load(workspace.image)
    if image is None:
        raise UserError(f"{workspace.image}: built, but there is no image")
    return Built(image, workspace)
