"""A kernel from Debian's source text: configured by layers, compiled, kept by the digest of what goes in."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path

import msgspec

from skiff.builders.linux.configure import Job, configure, make, release
from skiff.builders.linux.tarball import unpacked
from skiff.builders.watched import require_headers, watched
from skiff.host.errors import UserError
from skiff.host.files import digest, keep_folder, write_atomic
from skiff.host.run import CommandError, require, run
from skiff.model.arch import Arch

# Debian's package with the source text of its kernel, patches applied.
LINUX = "linux-source-6.12"
_PROGRAMS = ("make", "gcc", "bison", "flex", "bc", "xz", "tar")
# Header → the package that brings it. objtool, a part of every kernel for amd64, reads ELF files by libelf.
_HEADERS = {"/usr/include/stdio.h": "libc6-dev"}
_ELF_HEADERS = {"/usr/include/libelf.h": "libelf-dev"}
# What a bootloader starts; U-Boot unpacks a kernel by itself.
_IMAGES = {
    Arch.AMD64: "arch/x86/boot/bzImage",
    Arch.ARM64: "arch/arm64/boot/Image.gz",
    Arch.ARMHF: "arch/arm/boot/zImage",
    Arch.RISCV64: "arch/riscv/boot/Image.gz",
}
_TREES = "arch/{}/boot/dts"
_OWN = ("compile.py", "configure.py")


class Compiled(msgspec.Struct, frozen=True):
    """A kernel in the cache."""

    root: Path

    @property
    def kernel(self) -> Path:
        """What a bootloader starts."""
        return self.root / "kernel"

    @property
    def config(self) -> Path:
        """The configuration that it was compiled with."""
        return self.root / "config"

    @property
    def dtbs(self) -> dict[str, Path]:
        """The device trees that were asked for so far, by name."""
        folder = self.root / "dtbs"
        return {str(path.relative_to(folder)): path for path in folder.rglob("*.dtb")}

    @property
    def modules(self) -> Path:
        """Its `lib/modules/VERSION`."""
        return next((self.root / "lib/modules").iterdir())


def state(job: Job, source_key: str) -> str:
    """The same for the same wishes: settings, source text, compiler and this tool's way of compiling.

    Not so its device trees: boards with one kernel have their own.
    """
    return _digest(job, source_key, f"{job.base}\n{job.text}")


def _digest(job: Job, source_key: str, settings: str) -> str:
    here = resources.files("skiff.builders.linux")
    own = "".join(here.joinpath(name).read_text() for name in _OWN)
    compiler = f"{job.arch.triple}-gcc"
    require(compiler)
    version = run([compiler, "--version"]).stdout.decode().splitlines()[0]
    return digest("\n".join([source_key, job.arch.value, settings, version, digest(own)]))


def compile_linux(
    job: Job, tarball: Path, source_key: str, cache: Path, detail: Callable[[str], None]
) -> Compiled:
    """The kernel of a job, compiled when the cache has none like it.

    It is kept by its whole configuration: layers in another order, or others that come to the same, share it.
    Raises UserError when a program is missing or the compiler fails; the whole of its output is kept then.
    """
    folder = cache / "linux"
    # Leads from what layers wish to the kernel that came of it.
    wish = folder / f"{job.arch.value}-{state(job, source_key)[:16]}"
    if wish.exists() and not _missing(job, wish):
        return Compiled(wish.resolve())
    check_host(job.arch)
    folder.mkdir(parents=True, exist_ok=True)
    source = unpacked(tarball, source_key, cache, detail)
    scratch = Path(tempfile.mkdtemp(prefix=".compile-", dir=folder))
    out = scratch / "out"
    try:
        detail("settings")
        configure(job, source, out)
        config = (out / ".config").read_text()
        target = folder / f"{job.arch.value}-{_digest(job, source_key, config)[:16]}"
        log = target.with_suffix(".log")
        if not target.exists():
            _compile(job, source, out, [_image(job), "modules"], detail, log)
            _keep(job, source, out, scratch / "kept")
            keep_folder(scratch / "kept", target)
        if missing := _missing(job, target):
            made = {name: _tree(job, source, name) for name in missing}
            _compile(job, source, out, [*made.values()], detail, log.with_suffix(".dtbs.log"))
            _keep_trees(job, out, made, target / "dtbs")
        (scratch / "wish").symlink_to(target.name)
        (scratch / "wish").replace(wish)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Compiled(target)


def _missing(job: Job, kernel: Path) -> list[str]:
    """The device trees of a job that were not compiled with a kernel yet."""
    return [name for name in job.dtbs if not (kernel / "dtbs" / name).exists()]


def _image(job: Job) -> str:
    return _IMAGES[job.arch].rpartition("/")[2]


def check_host(arch: Arch) -> None:
    """Raise UserError for what is missing on this machine to compile a kernel for a CPU, all at once."""
    require(f"{arch.triple}-gcc", *_PROGRAMS)
    require_headers({**_HEADERS, **(_ELF_HEADERS if arch is Arch.AMD64 else {})})


def _compile(
    job: Job, source: Path, out: Path, targets: Sequence[str], detail: Callable[[str], None], log: Path
) -> None:
    words, environment = make(job, source, out)
    try:
        with log.open("wb") as kept:
            watched([*words, f"-j{os.cpu_count() or 1}", *targets], environment, detail, kept)
    except CommandError as error:
        raise UserError(error.message, hint=f"all that the compiler said is in {log}") from error


def _keep(job: Job, source: Path, out: Path, kept: Path) -> None:
    """The kernel, its modules without what only a debugger reads, and its configuration."""
    kept.mkdir()
    shutil.copyfile(out / _IMAGES[job.arch], kept / "kernel")
    shutil.copyfile(out / ".config", kept / "config")
    # For the addresses in a crash's trace, where the kernel has no names for them.
    shutil.copyfile(out / "System.map", kept / "System.map")
    words, environment = make(job, source, out)
    run([*words, "-s", f"INSTALL_MOD_PATH={kept}", "INSTALL_MOD_STRIP=1", "modules_install"], env=environment)
    folder = kept / "lib/modules" / release(job, source, out)
    # Links to where it was compiled, which goes away.
    for name in ("build", "source"):
        (folder / name).unlink(missing_ok=True)


def _tree(job: Job, source: Path, name: str) -> str:
    """What make calls a device tree: the source text has a folder for each vendor, Debian's armhf has not."""
    folder = source / _TREES.format(job.arch.kernel)
    text = Path(name).with_suffix(".dts")
    found = [path for path in (folder / text, *folder.glob(f"*/{text}")) if path.exists()]
    return str(found[0].relative_to(folder).with_suffix(".dtb")) if found else name


def _keep_trees(job: Job, out: Path, made: Mapping[str, str], kept: Path) -> None:
    for name, path in made.items():
        (kept / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(kept / name, (out / _TREES.format(job.arch.kernel) / path).read_bytes())
