"""Kernel modules: what travels along with one, and what is told of firmware. depmod and modinfo are real."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from skiff.builders.debian.unpack import Index, Unpacked
from skiff.builders.driver_firmware import missing_firmware
from skiff.builders.kernel import Kernel, add_modules, select_kernel
from skiff.model.packages import Package
from skiff.model.tree import Entry, Kind, Tree

VERSION = "6.12.0-test"


def module(name: str, *facts: str) -> bytes:
    """An ELF file that is nothing but a section .modinfo (elf.h, ELF64, relocatable)."""
    info = "".join(f"{fact}\0" for fact in (f"name={name}", "license=GPL", *facts)).encode()
    names = b"\0.modinfo\0.shstrtab\0.symtab\0.strtab\0"
    sections = [
        (0, 0, b"", 0, 0),
        (1, 1, info, 0, 0),
        (10, 3, names, 0, 0),
        (20, 2, bytes(24), 4, 24),
        (28, 3, b"\0", 0, 0),
    ]
    body, table, offset = b"", b"", 64
    for title, kind, content, link, size in sections:
        table += struct.pack("<IIQQQQIIQQ", title, kind, 0, 0, offset, len(content), link, 0, 1, size)
        body += content
        offset += len(content)
    head = (
        b"\x7fELF\2\1\1"
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 1, 183, 1, 0, 0, offset, 0, 64, 0, 0, 64, 5, 2)
    )
    return head + body + table


@pytest.fixture
def package(tmp_path: Path) -> Unpacked:
    """A kernel package: two network drivers, a file system, and what they ask for beside them."""
    folder = tmp_path / "package/files/usr/lib/modules" / VERSION / "kernel"
    modules = {
        "net/r8169": ("softdep=pre: realtek", "firmware=rtl_nic/rtl8168.fw", "firmware=rtl_nic/rtl8125.fw"),
        "net/realtek": (),
        "net/brcmfmac": ("firmware=brcm/brcmfmac*-sdio.bin",),
        "fs/ext4": ("softdep=pre: crypto-crc32c",),
        "crypto/crc32c_generic": ("alias=crypto-crc32c",),
        "crypto/ccm": (),
    }
    for path, facts in modules.items():
        file = folder / f"{path}.ko"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(module(file.stem, *facts))
    for name in ("modules.builtin", "modules.order"):
        (folder.parent / name).write_text("")
    boot = tmp_path / "package/files/boot"
    boot.mkdir()
    (boot / f"vmlinuz-{VERSION}").write_bytes(b"kernel")
    return Unpacked(
        Package("linux-image", "1", "arm64", "0" * 64, 1, "main", "p"), tmp_path / "package", Index((), ())
    )


def pick(package: Unpacked, tmp_path: Path, *names: str, boot: Sequence[str] = ()) -> Kernel:
    folder = package.root / "files/usr/lib/modules" / VERSION
    file = package.root / "files/boot" / f"vmlinuz-{VERSION}"
    return select_kernel(file, folder, tmp_path / "cache/lists", package.package.name, names, boot)


@pytest.mark.parametrize(
    ("wanted", "comes"),
    [("r8169", {"r8169", "realtek"}), ("ext4", {"ext4", "crc32c_generic"}), ("ccm", {"ccm"})],
)
def test_what_a_module_wants_beside_it_comes_along(
    package: Unpacked, tmp_path: Path, wanted: str, comes: set[str]
) -> None:
    kernel = pick(package, tmp_path, wanted)
    assert set(kernel.modules) == comes
    tree = Tree()
    (tmp_path / "scratch").mkdir()
    add_modules(tree, kernel, tmp_path / "scratch")
    for name in comes:
        assert f"usr/lib/modules/{VERSION}/kernel/{name}.ko" in tree


def test_what_init_loads_is_not_in_the_image_twice(package: Unpacked, tmp_path: Path) -> None:
    kernel = pick(package, tmp_path, "ccm", "ext4", boot=["ccm"])
    assert kernel.boot == ("ccm",) and "ccm" in kernel.modules
    tree = Tree()
    (tmp_path / "scratch").mkdir()
    add_modules(tree, kernel, tmp_path / "scratch")
    folder = f"usr/lib/modules/{VERSION}"
    assert f"{folder}/kernel/ext4.ko" in tree and f"{folder}/kernel/ccm.ko" not in tree
    # modprobe must know that it is there already.
    assert b"ccm.ko" in tree[f"{folder}/modules.dep"].read()


@pytest.mark.parametrize(
    ("files", "lines"),
    [
        ((), ["module r8169 asks for firmware that is not in the image: rtl_nic/rtl8168.fw and 1 more"]),
        (("rtl_nic/rtl8125.fw.xz",), []),
        (("rtl_nic/other.fw",), ["module r8169 asks for firmware"]),
    ],
)
def test_firmware_that_is_not_there_is_told(
    package: Unpacked, tmp_path: Path, files: tuple[str, ...], lines: list[str]
) -> None:
    tree = Tree()
    for name in files:
        tree.add(f"usr/lib/firmware/{name}", Entry(Kind.FILE, 0o644, "test", source=b"firmware"))
    told = missing_firmware(tree, pick(package, tmp_path, "r8169").modules, [])
    assert [line[: len(want)] for line, want in zip(told, lines, strict=True)] == lines


def test_firmware_named_by_a_glob_and_a_driver_that_needs_none(package: Unpacked, tmp_path: Path) -> None:
    tree = Tree()
    modules = pick(package, tmp_path, "r8169", "brcmfmac").modules
    tree.add(
        "usr/lib/firmware/brcm/brcmfmac43430-sdio.bin", Entry(Kind.FILE, 0o644, "test", source=b"firmware")
    )
    assert missing_firmware(tree, modules, ["r8169"]) == []
