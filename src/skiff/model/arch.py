"""The CPUs Skiff knows, with every spelling another program uses for them."""

from __future__ import annotations

import enum
import platform
from typing import NamedTuple


class _Names(NamedTuple):
    """One CPU's names; the columns are described at the properties of `Arch`."""

    kernel: str
    machine: str
    qemu_system: str
    qemu_user: str
    oci: str
    library: str
    triple: str
    elf_machine: int
    elf_bits: int = 64
    big_endian: bool = False


class Arch(enum.Enum):
    """A target CPU; the value is Debian's name for it."""

    AMD64 = "amd64"
    ARM64 = "arm64"
    ARMHF = "armhf"
    RISCV64 = "riscv64"
    # Container images are rebuilt for these too; no machine boots an image of ours on them.
    ARMEL = "armel"
    I386 = "i386"
    LOONG64 = "loong64"
    MIPS64EL = "mips64el"
    PPC64EL = "ppc64el"
    S390X = "s390x"

    @property
    def debian(self) -> str:
        """Debian architecture."""
        return self.value

    @property
    def kernel(self) -> str:
        """ARCH of the Linux kernel's build."""
        return _NAMES[self.value].kernel

    @property
    def machine(self) -> str:
        """What ``uname -m`` prints there."""
        return _NAMES[self.value].machine

    @property
    def qemu(self) -> str:
        """QEMU's system emulator."""
        return f"qemu-system-{_NAMES[self.value].qemu_system}"

    @property
    def qemu_user(self) -> str:
        """QEMU's emulator for single programs; binfmt_misc knows the CPU by this name too."""
        return f"qemu-{_NAMES[self.value].qemu_user}"

    @property
    def oci(self) -> str:
        """OCI platform, as in ``docker build --platform``."""
        return _NAMES[self.value].oci

    @property
    def library(self) -> str:
        """Name in the library of official images, as in ``arm64v8-GitCommit``."""
        return _NAMES[self.value].library

    @property
    def triple(self) -> str:
        """GNU triple, as in Debian's multiarch folders and cross compilers."""
        return _NAMES[self.value].triple

    @property
    def elf_machine(self) -> int:
        """e_machine of its ELF files (ELF specification, and elf.h)."""
        return _NAMES[self.value].elf_machine

    @property
    def elf_bits(self) -> int:
        """32 or 64: the class of its ELF files."""
        return _NAMES[self.value].elf_bits

    @property
    def big_endian(self) -> bool:
        """Whether numbers begin with their largest byte there."""
        return _NAMES[self.value].big_endian

    @classmethod
    def bootable(cls) -> tuple[Arch, ...]:
        """Those that images can be built for and booted on."""
        return (cls.AMD64, cls.ARM64, cls.ARMHF, cls.RISCV64)

    @classmethod
    def host(cls) -> Arch:
        """The CPU this tool runs on. Raises KeyError for one Skiff does not know."""
        return {arch.machine: arch for arch in cls}[platform.machine()]


# Columns:    kernel, uname -m, qemu-system, qemu-user, OCI, official images, GNU triple, e_machine, bits, big
_NAMES = {
    "amd64": _Names("x86", "x86_64", "x86_64", "x86_64", "linux/amd64", "amd64", "x86_64-linux-gnu", 62),
    "arm64": _Names(
        "arm64", "aarch64", "aarch64", "aarch64", "linux/arm64", "arm64v8", "aarch64-linux-gnu", 183
    ),
    "armhf": _Names("arm", "armv7l", "arm", "arm", "linux/arm/v7", "arm32v7", "arm-linux-gnueabihf", 40, 32),
    "riscv64": _Names(
        "riscv", "riscv64", "riscv64", "riscv64", "linux/riscv64", "riscv64", "riscv64-linux-gnu", 243
    ),
    "armel": _Names("arm", "armv5tel", "arm", "arm", "linux/arm/v5", "arm32v5", "arm-linux-gnueabi", 40, 32),
    "i386": _Names("x86", "i686", "i386", "i386", "linux/386", "i386", "i386-linux-gnu", 3, 32),
    "loong64": _Names(
        "loongarch",
        "loongarch64",
        "loongarch64",
        "loongarch64",
        "linux/loong64",
        "loong64",
        "loongarch64-linux-gnu",
        258,
    ),
    "mips64el": _Names(
        "mips", "mips64", "mips64el", "mips64el", "linux/mips64le", "mips64le", "mips64el-linux-gnuabi64", 8
    ),
    "ppc64el": _Names(
        "powerpc", "ppc64le", "ppc64", "ppc64le", "linux/ppc64le", "ppc64le", "powerpc64le-linux-gnu", 21
    ),
    "s390x": _Names(
        "s390", "s390x", "s390x", "s390x", "linux/s390x", "s390x", "s390x-linux-gnu", 22, 64, True
    ),
}
