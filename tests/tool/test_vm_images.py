"""What tests with virtual machines start: images packed for emulation, and kernels that are unpacked."""

from __future__ import annotations

import struct
from pathlib import Path

import msgspec
import pytest

from skiff.host.run import run
from skiff.model.arch import Arch
from tests.tool.fake_machine import small_image
from tests.vm.kernels import unpacked
from tests.vm.sources import chosen, words_for_source

# As readelf shows it of Debian's kernels: owner of 4 bytes, an entry of 8, type 18.
PVH = bytes.fromhex("04000000 08000000 12000000") + b"Xen\0" + bytes(8)


def packed(kernel: bytes) -> bytes:
    """A bzImage with nothing but what tells where its packed kernel is: behind three sectors."""
    payload = run(["zstd", "-qc"], input=kernel).stdout + struct.pack("<I", len(kernel))
    head = bytearray(3 * 512 + 64)
    head[0x1F1] = 2
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", head, 0x248, 64, len(payload))
    return bytes(head) + payload + b"behind it"


@pytest.mark.parametrize(
    ("arch", "kernel", "is_unpacked"),
    [(Arch.AMD64, b"ELF" + PVH, True), (Arch.AMD64, b"no entry", False), (Arch.ARM64, b"ELF" + PVH, False)],
)
def test_a_kernel_with_an_entry_for_it_is_unpacked(
    tmp_path: Path, arch: Arch, kernel: bytes, is_unpacked: bool
) -> None:
    image = small_image(tmp_path / "image", arch=arch)
    image.artefact("kernel").path.write_bytes(packed(kernel))
    # Looked at twice: the second time it is there.
    for made in (unpacked(image, tmp_path), unpacked(image, tmp_path)):
        assert made.artefact("initramfs") == image.artefact("initramfs")
        if is_unpacked:
            path = made.artefact("kernel").path
            assert path.read_bytes() == kernel
            assert made.artefact("kernel") == msgspec.structs.replace(image.artefact("kernel"), path=path)
        else:
            assert made == image


def test_a_kernel_of_another_kind_stays(tmp_path: Path) -> None:
    image = small_image(tmp_path / "image", kernel="plain")
    assert unpacked(image, tmp_path) == image


def test_images_are_packed_for_emulation(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("virt/qemu", "engine/docker", "--arch", "arm64")
    assert chosen(words) == ("virt/qemu", "engine/docker", "util/quick", "--arch", "arm64")
    assert chosen(chosen(words)) == chosen(words)
    assert chosen(words, shipped=True) == words
    monkeypatch.setenv("SKIFF_TEST_WITH", "util/slim")
    assert chosen(words, shipped=True) == ("virt/qemu", "engine/docker", "util/slim", "--arch", "arm64")
    assert chosen(("pc/uefi",)) == ("pc/uefi", "util/quick")
    monkeypatch.setenv("SKIFF_TEST_FROM_SOURCE", "1")
    assert chosen(("virt/qemu",)) == words_for_source()
