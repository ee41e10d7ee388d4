"""Debian's cross compiler as an external toolchain: relocatable, with a root of its own."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

import msgspec

from skiff.host.errors import UserError
from skiff.host.files import digest, file_digest, keep_folder
from skiff.host.run import require, run, which
from skiff.model.arch import Arch

# What the compiler looks for beside its own folders.
_BINUTILS = (
    "addr2line", "ar", "as", "ld", "ld.bfd", "nm", "objcopy", "objdump", "ranlib", "readelf", "size",
    "strings", "strip",
)  # fmt: skip
# Buildroot refuses a compiler that says it was made for the root `/`. This one is told another each time.
_WRAPPER = """\
#!/bin/sh
here=${0%/*}
if [ "$*" = -v ]; then
	"$here/NAME.real" -v 2>&1 | sed 's, --with-sysroot=/ , ,' >&2
	exit
fi
exec "$here/NAME.real" --sysroot="$here/../sysroot" "$@"
"""
# Another way of assembling is another folder.
_FORMAT = "2"


class Toolchain(msgspec.Struct, frozen=True):
    """An assembled toolchain, and what Buildroot has to be told of it."""

    path: Path
    prefix: str
    # Major version of the compiler: 12.
    gcc: int
    # Version of the kernel's headers: 6, 1.
    headers: tuple[int, int]
    cxx: bool

    @property
    def config(self) -> str:
        """Its lines of a Buildroot configuration."""
        lines = [
            "BR2_TOOLCHAIN_EXTERNAL=y",
            "BR2_TOOLCHAIN_EXTERNAL_CUSTOM=y",
            "BR2_TOOLCHAIN_EXTERNAL_PREINSTALLED=y",
            f'BR2_TOOLCHAIN_EXTERNAL_PATH="{self.path}"',
            f'BR2_TOOLCHAIN_EXTERNAL_CUSTOM_PREFIX="{self.prefix}"',
            f"BR2_TOOLCHAIN_EXTERNAL_GCC_{self.gcc}=y",
            f"BR2_TOOLCHAIN_EXTERNAL_HEADERS_{self.headers[0]}_{self.headers[1]}=y",
            "BR2_TOOLCHAIN_EXTERNAL_CUSTOM_GLIBC=y",
            "# BR2_TOOLCHAIN_EXTERNAL_INET_RPC is not set",
            "BR2_TOOLCHAIN_EXTERNAL_OPENMP=y",
        ]
        return "".join(
            f"{line}\n" for line in [*lines, *(["BR2_TOOLCHAIN_EXTERNAL_CXX=y"] if self.cxx else [])]
        )


def debian_toolchain(arch: Arch, cache: Path, root: Path = Path("/")) -> Toolchain:
    """The toolchain for a CPU, put together in the cache of what lies below ``root`` on this machine.

    Raises UserError when the compiler or its C library is missing, or for this machine's own CPU: Debian's
    compiler for that one is no cross compiler.
    """
    triple = arch.triple
    library = root / "usr" / triple
    inner = root / "usr/lib/gcc-cross" / triple
    if arch == Arch.host():
        raise UserError(
            f"Debian's compiler for {arch.value} on {arch.value} is no cross compiler",
            hint="leave the layer toolchain/debian out: Buildroot makes a compiler itself",
        )
    require(f"{triple}-gcc")
    if not (library / "include/stdio.h").is_file():
        package = f"libc6-dev-{arch.value}-cross"
        raise UserError(
            f"not installed on this machine: {package}",
            hint=f"sudo apt-get install --no-install-recommends {package}",
        )
    version = run([f"{triple}-gcc", "-dumpversion"]).stdout.decode().strip()
    headers = _headers(library / "include/linux/version.h")
    cxx = which(f"{triple}-g++") is not None
    full = run([f"{triple}-gcc", "--version"]).stdout.decode().splitlines()[0]
    key = digest(f"{_FORMAT} {full} {headers} {cxx} {root} {_content(library)}")[:16]
    target = cache / "toolchains" / f"{triple}-{key}"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".toolchain-", dir=target.parent))
        try:
            _assemble(scratch / "made", triple, library, inner / version, ["gcc", *(["g++"] if cxx else [])])
            keep_folder(scratch / "made", target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return Toolchain(target, triple, int(version.split(".")[0]), headers, cxx)


def _headers(file: Path) -> tuple[int, int]:
    found = re.search(r"LINUX_VERSION_CODE (\d+)", file.read_text())
    code = int(found[1]) if found else 0
    return code >> 16, (code >> 8) & 255


def _content(library: Path) -> str:
    """A hash of the C library and its headers: a mended one comes without another compiler."""
    files = [path for part in ("include", "lib") for path in sorted((library / part).rglob("*"))]
    return digest("".join(f"{path} {file_digest(path)}\n" for path in files if path.is_file()))


def _assemble(made: Path, triple: str, library: Path, inner: Path, drivers: list[str]) -> None:
    programs = made / "bin"
    programs.mkdir(parents=True)
    for driver in drivers:
        # A copy, no link: the compiler looks for everything else beside where it lies itself.
        shutil.copy2(_program(f"{triple}-{driver}"), programs / f"{triple}-{driver}.real")
        wrapper = programs / f"{triple}-{driver}"
        wrapper.write_text(_WRAPPER.replace("NAME", f"{triple}-{driver}"))
        wrapper.chmod(0o755)
    shutil.copy2(_program(f"{triple}-cpp"), programs / f"{triple}-cpp")
    for name in ("ar", "nm", "ranlib"):
        shutil.copy2(_program(f"{triple}-gcc-{name}"), programs / f"{triple}-gcc-{name}")
    beside = made / triple / "bin"
    beside.mkdir(parents=True)
    for name in _BINUTILS:
        for link in (programs / f"{triple}-{name}", beside / name):
            link.symlink_to(_program(f"{triple}-{name}"))
    # A real folder with links in it: `..` in the compiler's paths has to stay in here.
    own = made / "lib/gcc-cross" / triple / inner.name
    own.mkdir(parents=True)
    for path in inner.iterdir():
        (own / path.name).symlink_to(path.resolve())
    _add_root(made / "sysroot", library)


def _program(name: str) -> Path:
    found = which(name)
    if found is None:
        require(name)
    assert found is not None
    return Path(found).resolve()


def _add_root(sysroot: Path, library: Path) -> None:
    """The C library and its headers, as they lie on a device."""
    shutil.copytree(library / "include", sysroot / "usr/include", symlinks=True)
    shutil.copytree(library / "lib", sysroot / "usr/lib", symlinks=True)
    (sysroot / "lib").symlink_to("usr/lib")
    for path in (sysroot / "usr/lib").glob("*.so"):
        # Linker scripts: their paths are those of the build machine.
        if path.is_symlink() or path.stat().st_size > 4096:
            continue
        text = path.read_text(errors="replace")
        if "GNU ld script" in text:
            path.write_text(text.replace(f"/{library.relative_to(library.anchor)}/lib/", "/usr/lib/"))
