"""A kernel that an emulated machine need not unpack first."""

from __future__ import annotations

import struct
from pathlib import Path

import msgspec

from skiff.host.files import write_atomic
from skiff.host.run import run
from skiff.model.arch import Arch
from skiff.model.image import Image

# The header of a bzImage (Documentation/arch/x86/boot.rst of Linux): where the packed kernel begins, counted
# from the end of the sectors for real mode, and its length with four bytes behind it that tell its size.
_MAGIC, _SECTORS, _PAYLOAD = 0x202, 0x1F1, 0x248
# An ELF note by which a kernel says that it can be entered without a bootloader: owner, type
# XEN_ELFNOTE_PHYS32_ENTRY (xen/interface/elfnote.h), after the length of its owner's name.
_PVH = tuple(struct.pack("<III4s", 4, length, 18, b"Xen\0") for length in (4, 8))


def unpacked(image: Image, cache: Path) -> Image:
    """The image with its kernel as QEMU starts it at once, when it has such an entry; else as it is.

    To unpack it is much of what an emulated amd64 machine does until SSH answers. Other CPUs' kernels are
    plain, or know no other way.
    """
    if image.arch is not Arch.AMD64:
        return image
    kernel = image.artefact("kernel")
    plain = cache / "test-kernels" / kernel.sha256
    if not plain.exists():
        content = _unpack(kernel.path.read_bytes())
        if not any(note in content for note in _PVH):
            return image
        write_atomic(plain, content)
    changed = msgspec.structs.replace(kernel, path=plain)
    artefacts = tuple(changed if item is kernel else item for item in image.artefacts)
    return msgspec.structs.replace(image, artefacts=artefacts)


def _unpack(packed: bytes) -> bytes:
    if packed[_MAGIC : _MAGIC + 4] != b"HdrS":
        return packed
    start, length = struct.unpack_from("<II", packed, _PAYLOAD)
    start += 512 * (packed[_SECTORS] + 1)
    # It knows gzip and xz too.
    return run(["zstd", "-dqc"], input=packed[start : start + length - 4]).stdout
