"""The head of an ELF file: for which CPU it is. Its first 52 bytes tell; nothing more is read."""

from __future__ import annotations

import msgspec

from skiff.model.arch import Arch

MAGIC = b"\x7fELF"
# The head of the 32-bit form; the 64-bit one is longer, but what is read here stands in it as well.
HEAD = 52
RELOCATABLE = 1
# e_flags of 32-bit ARM: how floating-point numbers are handed over (ELF for the ARM Architecture).
_HARD_FLOAT = 0x400
_SOFT_FLOAT = 0x200


class ElfHead(msgspec.Struct, frozen=True):
    """What the kernel looks at first."""

    machine: int
    bits: int
    big_endian: bool
    # e_type: 1 is an object file or a kernel module, 2 and 3 are programs and libraries.
    type: int
    flags: int

    def runs_on(self, arch: Arch) -> bool:
        """Whether it is made for this CPU. 32-bit ARM that says nothing of floats is good for both kinds."""
        kind = (arch.elf_machine, arch.elf_bits, arch.big_endian)
        if (self.machine, self.bits, self.big_endian) != kind:
            return False
        wrong = {Arch.ARMHF: _SOFT_FLOAT, Arch.ARMEL: _HARD_FLOAT}.get(arch, 0)
        return not self.flags & wrong

    def describe(self) -> str:
        """Whose it is, for a message: Debian's name for the CPU, else the number."""
        found = next((arch.debian for arch in Arch if self.runs_on(arch)), "")
        return found or f"ELF machine {self.machine}, {self.bits} bits"


def read_head(data: bytes) -> ElfHead | None:
    """The head of a file from its first bytes (``HEAD`` of them, or more); None if it is no ELF file."""
    if len(data) < HEAD or not data.startswith(MAGIC) or data[4] not in (1, 2) or data[5] not in (1, 2):
        return None
    wide, big = data[4] == 2, data[5] == 2

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], "big" if big else "little")

    return ElfHead(
        machine=number(18, 2),
        bits=64 if wide else 32,
        big_endian=big,
        type=number(16, 2),
        flags=number(48 if wide else 36, 4),
    )
