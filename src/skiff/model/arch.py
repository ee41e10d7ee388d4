"""The CPUs Skiff knows, with every spelling another program uses for them."""

from __future__ import annotations

import enum
import platform


class Arch(enum.Enum):
    """A target CPU; the value is Debian's name for it."""

    AMD64 = "amd64"
    ARM64 = "arm64"
    ARMHF = "armhf"
    RISCV64 = "riscv64"

    @property
    def debian(self) -> str:
        """Debian architecture."""
        return self.value

    @property
    def kernel(self) -> str:
        """ARCH of the Linux kernel's build."""
        return {"amd64": "x86", "arm64": "arm64", "armhf": "arm", "riscv64": "riscv"}[self.value]

    @property
    def machine(self) -> str:
        """What ``uname -m`` prints there."""
        return {"amd64": "x86_64", "arm64": "aarch64", "armhf": "armv7l", "riscv64": "riscv64"}[self.value]

    @property
    def qemu(self) -> str:
        """QEMU's system emulator."""
        suffix = {"amd64": "x86_64", "arm64": "aarch64", "armhf": "arm", "riscv64": "riscv64"}[self.value]
        return f"qemu-system-{suffix}"

    @property
    def oci(self) -> str:
        """OCI platform, as in ``docker build --platform``."""
        return {
            "amd64": "linux/amd64",
            "arm64": "linux/arm64",
            "armhf": "linux/arm/v7",
            "riscv64": "linux/riscv64",
        }[self.value]

    @property
    def triple(self) -> str:
        """GNU triple, as in Debian's multiarch folders and cross compilers."""
        return {
            "amd64": "x86_64-linux-gnu",
            "arm64": "aarch64-linux-gnu",
            "armhf": "arm-linux-gnueabihf",
            "riscv64": "riscv64-linux-gnu",
        }[self.value]

    @property
    def elf_machine(self) -> int:
        """e_machine of its ELF files (ELF specification, and elf.h)."""
        return {"amd64": 62, "arm64": 183, "armhf": 40, "riscv64": 243}[self.value]

    @classmethod
    def host(cls) -> Arch:
        """The CPU this tool runs on. Raises KeyError for one Skiff does not know."""
        return {arch.machine: arch for arch in cls}[platform.machine()]
