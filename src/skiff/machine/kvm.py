"""Whether KVM truly works here: tried by booting the image's own kernel, and remembered."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path

import msgspec

from skiff.host.errors import UserError
from skiff.host.files import digest, write_atomic
from skiff.host.run import CommandError, run
from skiff.machine import qemu
from skiff.model.arch import Arch
from skiff.model.image import Image

_DEVICE = Path("/dev/kvm")

# Seconds for a kernel to get to its missing root file system. With KVM it takes about one; a KVM
# that is slower than this is of no use.
_LIMIT = 15.0

# What the kernel says when it has come so far.
_REACHED = b"Unable to mount root fs"


class Verdict(msgspec.Struct, frozen=True):
    """What trying has shown."""

    works: bool
    # Why not, in one line; empty when it works.
    reason: str = ""
    # A failure holds until the next start of this machine only: it may have had a passing cause.
    boot: str = ""


def choose(image: Image, wish: str, cache: Path, notice: Callable[[str], None]) -> str:
    """`kvm` or `tcg` for this image, as wished (`auto`, `kvm`, `tcg`).

    ``notice`` gets one line when KVM is there but does not work. ``cache`` is the cache folder.
    Raises UserError when KVM is demanded and does not work.
    """
    if wish == "tcg":
        return "tcg"
    verdict = _verdict(image, cache)
    if verdict.works:
        return "kvm"
    if wish == "kvm":
        raise UserError(f"KVM does not work here: {verdict.reason}", hint="--accel tcg does without it")
    notice(f"no KVM ({verdict.reason}): the machine is emulated, which is slower")
    return "tcg"


def _verdict(image: Image, cache: Path) -> Verdict:
    obstacle = _obstacle(image.arch)
    if obstacle:
        return Verdict(False, obstacle)
    store = cache / "kvm.json"
    key, boot = _key(image), _boot_id()
    known = _load(store)
    old = known.get(key)
    if old is not None and (old.works or old.boot == boot):
        return old
    verdict = msgspec.structs.replace(try_kvm(image), boot=boot)
    write_atomic(store, msgspec.json.format(msgspec.json.encode({**known, key: verdict})) + b"\n")
    return verdict


def _obstacle(arch: Arch) -> str:
    """What forbids KVM before anything is tried; empty when nothing does."""
    if platform.machine() != arch.machine:
        return f"this machine is {platform.machine()}, the image {arch.machine}"
    if not _DEVICE.exists():
        return f"there is no {_DEVICE}"
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        return f"{_DEVICE} may not be opened; `sudo adduser $USER kvm` and a new log-in change that"
    return ""


def try_kvm(image: Image) -> Verdict:
    """Boot the image's kernel with KVM until it asks for its root file system.

    Creating a virtual machine is not enough: there are hosts where QEMU stops at a register that
    the kernel's boot sets, or where the guest hangs.
    """
    words = qemu.boot_only(image, "kvm")
    try:
        done = run(words, stdin=None, input=b"", timeout=_LIMIT, check=False)
    except CommandError:
        return Verdict(False, f"a kernel does not boot within {_LIMIT:.0f} s")
    if _REACHED in done.stdout:
        return Verdict(True)
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return Verdict(False, said[0].removeprefix(f"{image.arch.qemu}: ") if said else "a kernel does not boot")


def _key(image: Image) -> str:
    """Everything the verdict depends on."""
    version = run([image.arch.qemu, "--version"]).stdout.decode().splitlines()[0]
    kernel = image.artefact("kernel").sha256
    return digest("\n".join((version, platform.release(), platform.version(), _cpu_model(), kernel)))[:32]


def _cpu_model() -> str:
    """CPU as /proc/cpuinfo names it (arm64 has no `model name`: its part numbers)."""
    names = ("model name", "CPU part", "uarch")
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line for line in lines if line.startswith(names)), "")


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _load(store: Path) -> dict[str, Verdict]:
    try:
        return msgspec.json.decode(store.read_bytes(), type=dict[str, Verdict])
    except (FileNotFoundError, msgspec.DecodeError):
        return {}
