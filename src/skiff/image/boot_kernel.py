"""What kind of file a kernel is, how much memory it takes, and the form that a bootloader can read."""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec

from skiff.host.files import file_digest, write_atomic
from skiff.model.arch import Arch

_GZIP = b"\x1f\x8b"
# `Image` of arm64 and riscv64: a magic at byte 56, at byte 16 the size in memory, with all that is zeroed
# (Documentation/arch/arm64/booting.rst, Documentation/arch/riscv/boot-image-header.rst).
_IMAGE_MAGIC = {Arch.ARM64: b"ARM\x64", Arch.RISCV64: b"RSC\x05"}


class BootKernel(msgspec.Struct, frozen=True):
    """A kernel as it is written to the boot partition."""

    path: Path
    # Whether U-Boot has to unpack it.
    packed: bool
    # Bytes that it takes in memory, unpacked.
    memory: int


def prepare(kernel: Path, arch: Arch, loader: str, cache: Path) -> BootKernel:
    """The kernel in the form that ``loader`` takes; forms other than its own are kept in the cache.

    UEFI starts plain kernels only. U-Boot unpacks one itself: a third of the size.
    """
    if arch not in _IMAGE_MAGIC:
        return BootKernel(kernel, False, kernel.stat().st_size)
    with kernel.open("rb") as file:
        is_packed = file.read(2) == _GZIP
    want_packed = loader == "uboot"
    plain, packed = (kernel, None) if not is_packed else (None, kernel)
    folder = cache / "kernels" / file_digest(kernel)
    if plain is None:
        plain = folder / "Image"
        if not plain.exists():
            write_atomic(plain, gzip.decompress(kernel.read_bytes()))
    if want_packed and packed is None:
        packed = folder / "Image.gz"
        if not packed.exists():
            write_atomic(packed, gzip.compress(kernel.read_bytes(), 9, mtime=0))
    chosen = packed if want_packed and packed else plain
    return BootKernel(chosen, chosen == packed, _memory(plain, arch))


def _memory(plain: Path, arch: Arch) -> int:
    with plain.open("rb") as file:
        header = file.read(64)
    said = int.from_bytes(header[16:24], "little") if header[56:60] == _IMAGE_MAGIC[arch] else 0
    return max(said, plain.stat().st_size)
