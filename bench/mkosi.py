"""The same job by mkosi, side by side: Debian 13's own mkosi, the same packages, an initrd as output."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import msgspec

from bench.builds import from_packages
from bench.setting import Setting, Spent, timed
from bench.table import Figure
from skiff.builders.debian.archive import Archive
from skiff.builders.debian.compose import request
from skiff.host.errors import UserError
from skiff.host.run import require, run
from skiff.layers import resolve, search_path
from skiff.model.arch import Arch
from skiff.model.recipe import Recipe

_LAYERS = ("virt/qemu",)

FIGURES = (
    Figure("mkosi-time", "build from packages, no engine, against mkosi", "s", rival="mkosi"),
    Figure("mkosi-size", "kernel + initramfs, no engine, against mkosi", "MB", rival="mkosi"),
)

# mkosi's names of CPUs (mkosi(1), Architecture=).
_ARCH = {Arch.AMD64: "x86-64", Arch.ARM64: "arm64", Arch.ARMHF: "arm", Arch.RISCV64: "riscv64"}

# Without documentation, package lists, the kernel itself (it is counted beside it), and the initrd that the
# kernel package's script makes: what anybody would leave out, to be fair.
_CONF = """\
[Distribution]
Distribution=debian
Release=trixie
Architecture={arch}

[Output]
Format=cpio
CompressOutput=zstd
Output=image

[Content]
Bootable=no
MakeInitrd=yes
WithDocs=no
CleanPackageMetadata=yes
Packages={packages}
RemoveFiles=/boot/*,/usr/lib/modules/*/vmlinuz
"""


class _Mkosi(msgspec.Struct, frozen=True):
    """mkosi unpacked, and the folders it works in."""

    version: str
    code: Path
    folder: Path

    @property
    def output(self) -> Path:
        return self.folder / "output"

    def build(self, *, network: bool) -> Spent:
        """Build once. Without ``network`` only packages that are there already are used."""
        for path in (self.output, self.folder / "work"):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
        argv: list[str | Path] = [
            sys.executable, "-m", "mkosi", "--force", "--directory", "project",
            "--package-cache-dir", self.folder / "packages",
            "--workspace-directory", self.folder / "work",
            "--output-directory", self.output,
            "--cache-only", "never" if network else "always",
            "build",
        ]  # fmt: skip
        environment = {"PYTHONPATH": str(self.code), "PYTHONDONTWRITEBYTECODE": "1"}
        return timed(argv, environment, self.folder)

    def initrd_bytes(self) -> int:
        """Size of what was built."""
        return sum(item.stat().st_size for item in self.output.glob("image.cpio*") if not item.is_symlink())


def measure(setting: Setting) -> Iterator[Figure]:
    """Both with their package caches warm, in turn. What keeps mkosi from running is told in the rows."""
    slower, larger = FIGURES
    built = setting.image(*_LAYERS)
    recipe = resolve(_LAYERS, built.image.arch, search_path())
    ours: list[Spent] = []
    theirs: list[Spent] = []
    refusal = ""
    mkosi: _Mkosi | None = None
    try:
        mkosi = _set_up(setting, recipe)
        with setting.ui.step("mkosi, filling its package cache"):
            mkosi.build(network=True)
    except UserError as error:
        mkosi, refusal = None, _reason(error)
    for number in range(1, setting.times(3, 1) + 1):
        ours.append(from_packages(setting, *_LAYERS, number=number))
        if mkosi is not None:
            with setting.ui.step(f"mkosi, number {number}"):
                theirs.append(mkosi.build(network=False))
            setting.ui.notice(f"  we {ours[-1].seconds:.1f} s, mkosi {theirs[-1].seconds:.1f} s")
    seconds, cpu = median(spent.seconds for spent in ours), median(spent.cpu for spent in ours)
    slower = msgspec.structs.replace(slower, value=seconds, note=f"mkosi could not be had: {refusal}")
    larger = msgspec.structs.replace(larger, value=built.megabytes, note=slower.note)
    if mkosi is not None:
        how = f"mkosi {mkosi.version}, package caches warm, median of {len(theirs)}"
        their_cpu = median(spent.cpu for spent in theirs)
        slower = msgspec.structs.replace(
            slower,
            limit=median(spent.seconds for spent in theirs),
            note=f"{how}; CPU {cpu:.0f} s against {their_cpu:.0f} s",
        )
        # Both boot the same kernel file.
        size = (mkosi.initrd_bytes() + built.image.artefact("kernel").bytes) / 1e6
        larger = msgspec.structs.replace(larger, limit=size, note="the same packages, zstd")
        shutil.rmtree(mkosi.output)
    yield slower
    yield larger


def _set_up(setting: Setting, recipe: Recipe) -> _Mkosi:
    """mkosi of Debian 13, taken from the signed archive like any package, and a project with our packages."""
    require("apt-get", "cpio", "depmod", "dpkg", "zstd")
    archive = Archive(recipe.arch, setting.cache)
    packages = archive.resolve(["mkosi"], ()).packages
    # Of its dependencies none is unpacked: the host has what this job needs.
    package = next(item for item in packages if item.name == "mkosi")
    deb = archive.fetch([package], lambda _: None)[package.sha256]
    folder = setting.scratch / "mkosi"
    code = folder / package.version
    if not code.exists():
        code.mkdir(parents=True)
        run(["dpkg-deb", "-x", deb, code])
    project = setting.empty("mkosi/project")
    conf = _CONF.format(arch=_ARCH[recipe.arch], packages=",".join(request(recipe)))
    (project / "mkosi.conf").write_text(conf)
    # Our own sources: the same packages from the same mirror.
    sources = project / "mkosi.sandbox/etc/apt/sources.list.d"
    sources.mkdir(parents=True)
    shutil.copy(archive.state / "debian.sources", sources / "mkosi.sources")
    (folder / "packages").mkdir(exist_ok=True)
    return _Mkosi(package.version, code / "usr/lib/python3/dist-packages", folder)


def _reason(error: UserError) -> str:
    """The last line that says something, in table size."""
    lines = [line.strip() for line in error.message.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E:", "‣"))] or lines
    return f"{errors[-1].lstrip('‣ ')[:120]}" if os.geteuid() == 0 else f"{errors[-1][:100]} (not root)"
