"""What a slot of the boot partition holds: the image's files, and a manifest that tells what they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from skiff.host.errors import UserError
from skiff.host.files import digest, file_digest, link_or_copy
from skiff.host.keys import sign
from skiff.image import boot_uboot
from skiff.image.boot_kernel import BootKernel, prepare
from skiff.model.disk import DiskPlan
from skiff.model.image import Image

MANIFEST = "manifest"
# What a signature is for: one made for something else does not count (ssh-keygen(1), -n).
NAMESPACE = "skiff-image"


def write_slot(target: Path, image: Image, cache: Path, key: Path | None = None) -> None:
    """Put a slot's files into an empty folder, ready to be sent: they stay, whatever is built meanwhile.

    ``key``: a private SSH key (or a public one whose private half an agent has) that signs the manifest.
    Raises UserError when the image is for no disk or cannot be signed.
    """
    if image.disk is None or image.disk.loader not in ("uefi", "uboot"):
        raise UserError(
            "this image has no slots: nothing of its layers says what starts it from a disk",
            hint="add a layer for the device, as pc/uefi",
        )
    kernel = prepare(image.artefact("kernel").path, image.arch, image.disk.loader, cache)
    for name, content in slot_files(image, image.disk, kernel).items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            link_or_copy(content, path)
    if key is not None:
        sign(target / MANIFEST, key, NAMESPACE)


def slot_files(image: Image, plan: DiskPlan, kernel: BootKernel) -> dict[str, bytes | Path]:
    """All files of a slot by their path in it, the manifest included. They are the same for both slots."""
    files: dict[str, bytes | Path] = {"kernel": kernel.path, "initramfs": image.artefact("initramfs").path}
    files.update({f"dtbs/{name}": image.artefact(f"dtbs/{name}").path for name in plan.dtbs})
    if plan.loader == "uboot":
        text = boot_uboot.starter(plan, image.arch, kernel, image.artefact("initramfs").path, image.cmdline)
        files["boot.scr"] = boot_uboot.script(text, "Skiff, slot", image.arch, image.epoch)
    return {**files, MANIFEST: manifest(image, plan, files)}


def manifest(image: Image, plan: DiskPlan, files: Mapping[str, bytes | Path]) -> bytes:
    """The text that the device reads before it takes a slot (docs/reference/disk.md)."""
    lines = [
        "skiff-slot 1",
        f"arch {image.arch.value}",
        f"board {image.board}",
        f"loader {plan.loader}",
        f"version {image.epoch}",
        f"image {image.recipe_sha256}",
        f"layers {' '.join(image.layers)}",
        f"cmdline {' '.join(image.cmdline)}",
        *(f"file {_sum(content)} {size(content)} {name}" for name, content in sorted(files.items())),
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def size(content: bytes | Path) -> int:
    """Bytes of a file that is there or still to be written."""
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _sum(content: bytes | Path) -> str:
    return digest(content) if isinstance(content, bytes) else file_digest(content)
