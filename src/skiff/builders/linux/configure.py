"""A kernel's configuration: a base of its own, with the `kernel/` fragments of all layers over it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from skiff.builders.buildroot import fragments
from skiff.builders.buildroot.dropped import dropped, report
from skiff.builders.buildroot.fragments import Kind, Setting, read
from skiff.builders.buildroot.kconfig import Kconfig
from skiff.host.run import CommandError, run, spawn
from skiff.model.arch import Arch
from skiff.model.recipe import Recipe

# Bases that take wanted lines while they are made. To others the lines are added afterwards.
_OPEN = ("allnoconfig", "alldefconfig")


class Job(msgspec.Struct, frozen=True):
    """What kernel is wanted."""

    arch: Arch
    # The kernel's own target that what no layer names comes from.
    base: str
    # What layers ask for, by symbol.
    settings: Mapping[str, Setting]
    # Device trees to be compiled.
    dtbs: tuple[str, ...] = ()
    # Messages about lines that set nothing.
    unread: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The settings as one fragment."""
        return fragments.text(self.settings.values())


def job_of(recipe: Recipe) -> Job:
    """The job that a recipe's layers add up to."""
    found = fragments.collect(recipe.layers, recipe.arch, Kind.KERNEL)
    unread = tuple(line for one in found for line in one.unread)
    return Job(recipe.arch, recipe.kernel_base, fragments.merge(found), recipe.dtbs, unread)


def make(job: Job, source: Path, out: Path) -> tuple[list[str], dict[str, str]]:
    """Words of make for a kernel's source text and an output folder, and its environment."""
    environment = {
        "ARCH": job.arch.kernel,
        "CROSS_COMPILE": f"{job.arch.triple}-",
        "LOCALVERSION": "-skiff",
        # The same bytes on every machine, at every hour.
        "KBUILD_BUILD_USER": "skiff",
        "KBUILD_BUILD_HOST": "skiff",
        "KBUILD_BUILD_VERSION": "1",
        "KBUILD_BUILD_TIMESTAMP": time.asctime(time.gmtime((source / "Makefile").stat().st_mtime)),
        "PATH": f"/usr/bin:/bin:{os.environ.get('PATH', os.defpath)}",
        "LC_ALL": "C",
        "TZ": "UTC",
        # Nothing of the user's own may get in.
        **dict.fromkeys(("CFLAGS", "CPPFLAGS", "LDFLAGS", "KCFLAGS", "MAKEFLAGS", "MAKEOVERRIDES"), ""),
    }
    return ["make", "-C", str(source), f"O={out}"], environment


def configure(job: Job, source: Path, out: Path) -> None:
    """Make `.config` in an output folder."""
    out.mkdir(parents=True, exist_ok=True)
    wanted = out / "wanted.config"
    wanted.write_text(job.text)
    words, environment = make(job, source, out)
    if job.base in _OPEN:
        run([*words, "-s", job.base], env={**environment, "KCONFIG_ALLCONFIG": str(wanted)})
        return
    run([*words, "-s", job.base], env=environment)
    config = out / ".config"
    config.write_text(config.read_text() + job.text)
    run([*words, "-s", "olddefconfig"], env=environment)


def menu(job: Job, source: Path, out: Path) -> None:
    """Let the user change an output folder's `.config` in the terminal. Raises CommandError."""
    words, environment = make(job, source, out)
    argv = [*words, "--no-print-directory", "menuconfig"]
    status = spawn(argv, env=environment).wait()
    if status:
        raise CommandError(argv, status, "")


def lost(job: Job, config: Path, source: Path, *, strict: bool) -> list[str]:
    """Settings of layers that came to nothing, with layer and reason. Raises UserError when ``strict``."""
    values = read(config.read_text())
    found = dropped(job.settings, values, None)
    if found:
        # Reading all of Kconfig takes a second: only to explain.
        folder = job.arch.kernel
        kconfig = Kconfig(source / "Kconfig", source, {"SRCARCH": folder, "ARCH": folder}, "CONFIG_")
        found = dropped(job.settings, values, kconfig)
    return report([*job.unread, *(f"kernel: {one}" for one in found)], strict=strict)


def release(job: Job, source: Path, out: Path) -> str:
    """What `uname -r` says on the kernel."""
    words, environment = make(job, source, out)
    return run([*words, "-s", "kernelrelease"], env=environment).stdout.decode().strip()
