"""U-Boot for a board: its files from source, settings and cross compiler, kept by the digest of these."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path

import msgspec

from skiff.builders.uboot.settings import check, merged
from skiff.builders.watched import require_headers, watched
from skiff.host.errors import UserError
from skiff.host.files import digest, file_digest, keep_folder
from skiff.host.run import require, run, which
from skiff.model.arch import Arch

# Debian's source package.
UBOOT = "u-boot"
# The command that starts a kernel.
_START = {
    Arch.ARM64: "CONFIG_CMD_BOOTI=y",
    Arch.ARMHF: "CONFIG_CMD_BOOTZ=y",
    Arch.RISCV64: "CONFIG_CMD_BOOTI=y",
}
# U-Boot's own tools, with headers of the C library, and the parser of its settings and device trees.
_PROGRAMS = ("make", "gcc", "bison", "flex", "bc", "patch")
# Header → the package that brings it.
_HEADERS = {"/usr/include/stdio.h": "libc6-dev"}
# Modules that binman, which puts together images of several parts, imports; and the package that brings each.
_BINMAN = {"elftools": "python3-pyelftools", "setuptools": "python3-setuptools", "yaml": "python3-yaml"}


class Job(msgspec.Struct, frozen=True):
    """What is to be compiled."""

    arch: Arch
    defconfig: str
    target: str
    # Files that it has to give.
    files: tuple[str, ...]
    # Settings of layers, later ones last.
    fragments: tuple[Path, ...]
    # Variable of `make` → file.
    inputs: Mapping[str, Path]


def compile_uboot(
    job: Job, source: Path, source_key: str, cache: Path, detail: Callable[[str], None]
) -> dict[str, Path]:
    """The files of a board's U-Boot, by name.

    Raises UserError when a program is missing, the defconfig is unknown, a setting has no effect, or a file
    is not made.
    """
    compiler = f"{job.arch.triple}-gcc"
    require(compiler, *_PROGRAMS)
    target = cache / "uboot" / f"{job.defconfig}-{_key(job, source_key, compiler)[:16]}"
    if not target.exists():
        require_headers(_HEADERS)
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".compile-", dir=target.parent))
        try:
            _compile(job, source, scratch / "out", detail)
            _keep(job, scratch / "out", scratch / "files")
            keep_folder(scratch / "files", target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return {name: target / name for name in job.files}


def _key(job: Job, source_key: str, compiler: str) -> str:
    here = resources.files("skiff.builders.uboot")
    own = "".join(here.joinpath(name).read_text() for name in ("needed.txt", "compile.py", "settings.py"))
    version = run([compiler, "-dumpfullversion"]).stdout.decode()
    parts = [source_key, job.arch.value, job.defconfig, job.target, *job.files, version, digest(own)]
    parts += [file_digest(path) for path in job.fragments]
    parts += [f"{name} {file_digest(path)}" for name, path in sorted(job.inputs.items())]
    return digest("\n".join(parts))


def _compile(job: Job, source: Path, out: Path, detail: Callable[[str], None]) -> None:
    detail("settings")
    if not (source / "configs" / f"{job.defconfig}_defconfig").is_file():
        raise UserError(
            f"uboot.defconfig: U-Boot has no {job.defconfig}_defconfig",
            hint=f"those that it has are in {source / 'configs'}",
        )
    out.mkdir()
    environment = {
        "CROSS_COMPILE": f"{job.arch.triple}-",
        "SOURCE_DATE_EPOCH": _changed(source),
        "KBUILD_BUILD_USER": "skiff",
        "KBUILD_BUILD_HOST": "skiff",
        # Debian's programs go first: its Python packages are for its own Python.
        "PATH": f"/usr/bin:/bin:{os.environ.get('PATH', os.defpath)}",
        "LC_ALL": "C",
        "TZ": "UTC",
        # Nothing of the user's own may get in.
        **{
            name: ""
            for name in ("ARCH", "CFLAGS", "CPPFLAGS", "LDFLAGS", "KCFLAGS", "MAKEFLAGS", "MAKEOVERRIDES")
        },
        **{name: str(path) for name, path in job.inputs.items()},
    }
    make = ["make", "-C", str(source), f"O={out}"]
    config = out / ".config"
    run([*make, "-s", f"{job.defconfig}_defconfig"], env=environment)
    wanted = [resources.files("skiff.builders.uboot").joinpath("needed.txt").read_text()]
    wanted += [_START.get(job.arch, ""), *(path.read_text() for path in job.fragments)]
    config.write_text(merged(config.read_text(), wanted))
    run([*make, "-s", "olddefconfig"], env=environment)
    check(config.read_text(), wanted, job.defconfig)
    _require_binman(config.read_text())
    watched([*make, f"-j{os.cpu_count() or 1}", *([job.target] if job.target else [])], environment, detail)


def _changed(source: Path) -> str:
    """When this version of the package was made: seconds since 1970."""
    done = run(["dpkg-parsechangelog", "-l", source / "debian/changelog", "-S", "Timestamp"])
    return done.stdout.decode().strip()


def _require_binman(config: str) -> None:
    """What U-Boot's own packer needs, for boards that use it."""
    if "CONFIG_BINMAN=y" not in config.splitlines():
        return
    require("swig", "python3")
    missing = [
        package
        for module, package in _BINMAN.items()
        if run(["/usr/bin/python3", "-c", f"import {module}"], check=False).returncode
    ]
    if which("python3-config") is None:
        missing.append("python3-dev")
    if missing:
        raise UserError(
            f"not installed on this machine: {', '.join(missing)}",
            hint=f"sudo apt-get install --no-install-recommends {' '.join(missing)}",
        )


def _keep(job: Job, out: Path, files: Path) -> None:
    files.mkdir()
    for name in job.files:
        made = out / name
        if not made.is_file():
            there = ", ".join(sorted(path.name for path in out.glob("u-boot*") if path.is_file()))
            raise UserError(
                f"uboot.files: compiling {job.defconfig} gave no {name}",
                hint=f"it gave {there}; uboot.target says what is made",
            )
        shutil.copyfile(made, files / name)
