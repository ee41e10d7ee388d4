"""Debian's cross compiler put together anew, with programs that only tell who they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from skiff.builders.buildroot.toolchain import debian_toolchain
from skiff.host.errors import UserError
from skiff.host.run import run, which
from skiff.model.arch import Arch

# A CPU that is not this machine's: Debian's own compiler is none for crossing.
CPU = next(arch for arch in Arch if arch != Arch.host())
NAMES = (
    "gcc", "cpp", "gcc-ar", "gcc-nm", "gcc-ranlib", "addr2line", "ar", "as", "ld", "ld.bfd", "nm", "objcopy",
    "objdump", "ranlib", "readelf", "size", "strings", "strip",
)  # fmt: skip
COMPILER = """\
#!/bin/sh
case "$*" in
-dumpversion) echo 12 ;;
--version) echo "gcc 12.2.0" ;;
*-v) echo "Configured with: --prefix=/usr --with-sysroot=/ --enable-x" >&2 ;;
*) echo "$0 $*" ;;
esac
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with the compiler and its C library below a folder."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in NAMES:
        program = programs / f"{CPU.triple}-{name}"
        program.write_text(COMPILER)
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    # Without C++, which the machine of whoever runs this may have.
    monkeypatch.setattr(
        "skiff.builders.buildroot.toolchain.which", lambda name: None if "++" in name else which(name)
    )
    root = tmp_path / "root"
    library = root / "usr" / CPU.triple
    (library / "include/linux").mkdir(parents=True)
    (library / "include/stdio.h").write_text("")
    # 6.1.170, as in linux/version.h.
    (library / "include/linux/version.h").write_text("#define LINUX_VERSION_CODE 393642\n")
    (library / "lib").mkdir()
    script = f"/* GNU ld script */ GROUP ( /usr/{CPU.triple}/lib/libc.so.6 )\n"
    (library / "lib/libc.so").write_text(script.replace("/usr", f"{root}/usr"))
    inner = root / "usr/lib/gcc-cross" / CPU.triple / "12"
    inner.mkdir(parents=True)
    (inner / "cc1").write_text("")
    return root


def test_it_tells_buildroot_what_it_is(root: Path, tmp_path: Path) -> None:
    made = debian_toolchain(CPU, tmp_path / "cache", root)
    lines = made.config.splitlines()
    assert {"BR2_TOOLCHAIN_EXTERNAL_GCC_12=y", "BR2_TOOLCHAIN_EXTERNAL_HEADERS_6_1=y"} <= set(lines)
    assert f'BR2_TOOLCHAIN_EXTERNAL_PATH="{made.path}"' in lines
    assert "BR2_TOOLCHAIN_EXTERNAL_CXX=y" not in lines
    assert debian_toolchain(CPU, tmp_path / "cache", root) == made


def test_its_root_is_its_own_and_it_says_so(root: Path, tmp_path: Path) -> None:
    made = debian_toolchain(CPU, tmp_path / "cache", root)
    compiler = made.path / "bin" / f"{CPU.triple}-gcc"
    told = run([compiler, "-v"]).stderr.decode()
    assert "--with-sysroot=/ " not in told and "--enable-x" in told
    called = run([compiler, "-c", "a.c"]).stdout.decode()
    assert f"--sysroot={made.path}/bin/../sysroot -c a.c" in called
    assert (made.path / "sysroot/usr/include/stdio.h").is_file()
    # `..` of the compiler's own folder stays within.
    own = made.path / "lib/gcc-cross" / CPU.triple / "12"
    assert not own.is_symlink() and (own / "cc1").is_symlink()


@pytest.mark.parametrize("name", ["lib/libc.so.6", "include/stdio.h"])
def test_a_c_library_that_was_mended_is_taken(root: Path, tmp_path: Path, name: str) -> None:
    file = root / "usr" / CPU.triple / name
    file.write_text("with the hole")
    before = debian_toolchain(CPU, tmp_path / "cache", root)
    file.write_text("mended")
    after = debian_toolchain(CPU, tmp_path / "cache", root)
    # At another place, so that Buildroot makes everything anew.
    assert before.path != after.path
    assert (after.path / "sysroot/usr" / name).read_text() == "mended"


def test_linker_scripts_name_the_new_root(root: Path, tmp_path: Path) -> None:
    made = debian_toolchain(CPU, tmp_path / "cache", root)
    assert "GROUP ( /usr/lib/libc.so.6 )" in (made.path / "sysroot/usr/lib/libc.so").read_text()


def test_what_is_missing_is_named_with_its_package(root: Path, tmp_path: Path) -> None:
    (root / "usr" / CPU.triple / "include/stdio.h").unlink()
    with pytest.raises(UserError, match=f"libc6-dev-{CPU.value}-cross"):
        debian_toolchain(CPU, tmp_path / "cache", root)
    with pytest.raises(UserError, match="no cross compiler"):
        debian_toolchain(Arch.host(), tmp_path / "cache", root)
