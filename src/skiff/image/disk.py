"""A built image into a disk image with partitions and bootloaders, swapped in whole."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from skiff.host import json
from skiff.host.errors import UserError
from skiff.host.files import digest, file_digest, swap_folder, write_atomic
from skiff.host.run import require, run
from skiff.image import boot_uboot, boot_uefi
from skiff.image.boot_kernel import BootKernel, prepare
from skiff.image.disk_fat import Fat
from skiff.image.disk_layout import (
    BOOT,
    boot_partition,
    check_load,
    check_slot,
    place,
    spare_partition,
    total_size,
)
from skiff.image.disk_pack import block_map, block_ranges, compress
from skiff.image.slot import size, slot_files
from skiff.model.arch import Arch
from skiff.model.disk import BLOCK, BOOT_LABEL, SECTOR, SPARE_LABEL, DiskFile, DiskImage, DiskPlan, Placed
from skiff.model.image import Image

# A new disk starts from here; the other slot is for updates.
_SLOT = "a"
# EFI system partition; in a DOS table EF is that. 0C is FAT32: some boot ROMs read only that.
_GPT_TYPE = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
# Basic data, and FAT12 in a DOS table.
_GPT_SPARE = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"
_DOS_SPARE = "1"
STEPS = 4


def write_disk(
    target: Path,
    image: Image,
    pieces: Mapping[str, Path],
    cache: Path,
    step: Callable[[str], None],
    beside: Mapping[str, Path] | None = None,
) -> tuple[DiskImage, bool]:
    """The disk image in the folder ``target``, and whether it had to be made. All or nothing.

    ``pieces``: files with the bytes of raw pieces, by name. ``beside``: further files of the boot partition,
    by their path there. ``step`` is called STEPS times when it is made.
    Raises UserError when the image is for no disk, or something does not fit.
    """
    plan = _plan(image)
    beside = beside or {}
    fingerprint = _fingerprint(image, plan, {**pieces, **{f"/{name}": beside[name] for name in beside}})
    present = load_disk(target)
    if present is not None and present.fingerprint == fingerprint:
        return present, False
    _require(plan)
    files = check_fits(image, cache, beside)
    placed = place(plan, {name: path.stat().st_size for name, path in pieces.items()})
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f".{target.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    try:
        raw = new / f"{image.hostname}-{image.arch.value}.img"
        step("partitions")
        _partition(raw, plan, fingerprint)
        step("boot files")
        used = _fill(raw, image, plan, files, beside, fingerprint)
        _write_pieces(raw, plan, pieces)
        step("compress")
        made = _finish(raw, target, [_shortened(item, used) for item in placed], plan, fingerprint, step)
        write_atomic(new / "disk.json", json.encode(made))
        swap_folder(new, target)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return made, True


def check_fits(image: Image, cache: Path, beside: Mapping[str, Path]) -> dict[str, Path | bytes]:
    """The files of a slot. Raises UserError when they do not fit into it, or into the board's memory."""
    plan = _plan(image)
    kernel = prepare(image.artefact("kernel").path, image.arch, plan.loader, cache)
    further = sum(path.stat().st_size for path in beside.values())
    # The large ones by their sizes alone, before anything is read for its checksum.
    sizes = {"kernel": kernel.path.stat().st_size, "initramfs": image.artefact("initramfs").bytes}
    check_slot(plan, sizes, further)
    if plan.loader == "uboot":
        check_load(plan, _sizes_in_memory(image, plan, kernel))
    files = slot_files(image, plan, kernel)
    check_slot(plan, {name: size(content) for name, content in files.items()}, further)
    return files


def load_disk(folder: Path) -> DiskImage | None:
    """The disk image in a folder; None when there is none that is whole. Its files are those there."""
    try:
        made = json.decode((folder / "disk.json").read_bytes(), DiskImage)
    except (OSError, msgspec.DecodeError):
        return None
    # It may be a copy of the folder that is named there.
    here = [msgspec.structs.replace(item, path=folder / item.path.name) for item in made.files]
    made = msgspec.structs.replace(made, packed=here[0], checksum=here[1], block_map=here[2])
    whole = all(item.path.exists() and item.path.stat().st_size == item.bytes for item in made.files)
    return made if whole else None


def check_loader(arch: Arch, loader: str, layers: Sequence[str]) -> None:
    """Raise UserError when no layer says what starts a disk; it can be asked before anything is built."""
    if not loader:
        raise UserError(
            f"no bootloader for {arch.value} in any of these layers: {', '.join(layers)}",
            hint="add a layer for the machine it is to run on, as pc/uefi, or set [disk.loader] in your own",
        )


def _plan(image: Image) -> DiskPlan:
    check_loader(image.arch, image.disk.loader if image.disk else "", image.layers)
    assert image.disk is not None
    return image.disk


def _fingerprint(image: Image, plan: DiskPlan, pieces: Mapping[str, Path]) -> str:
    sums = [f"{item.name} {item.sha256}" for item in image.artefacts]
    sums += [f"{name} {file_digest(path)}" for name, path in sorted(pieces.items())]
    return digest("\n".join([image.recipe_sha256, json.encode(plan).decode(), *sums]))


def _require(plan: DiskPlan) -> None:
    programs = ["sfdisk", "mformat", "mcopy", "mmd", "zstd"]
    require(*programs, *(["mkimage"] if plan.loader == "uboot" else []))


def _sizes_in_memory(image: Image, plan: DiskPlan, kernel: BootKernel) -> dict[str, int]:
    trees = [image.artefact(f"dtbs/{name}").bytes for name in plan.dtbs]
    return {
        "kernel": max(kernel.memory, kernel.path.stat().st_size),
        "initramfs": image.artefact("initramfs").bytes,
        "dtb": max(trees, default=0),
        "unpack": kernel.memory if kernel.packed else 0,
    }


def _partition(raw: Path, plan: DiskPlan, fingerprint: str) -> None:
    """A file with holes, and its partition table; all ids come from the fingerprint."""
    with raw.open("wb") as file:
        file.truncate(total_size(plan))
    text = f"label: dos\nlabel-id: 0x{fingerprint[:8]}\n"
    if plan.table == "gpt":
        text = f"label: gpt\nlabel-id: {_uuid(fingerprint, 'disk')}\n"
    boot_type = "ef" if plan.loader == "uefi" else "c"
    types = {BOOT_LABEL: (boot_type, _GPT_TYPE), SPARE_LABEL: (_DOS_SPARE, _GPT_SPARE)}
    for area in _partitions(plan):
        dos_type, gpt_type = types[area.name]
        where = f"start={area.start // SECTOR}, size={area.size // SECTOR}"
        # Marked bootable: where U-Boot looks.
        if plan.table == "gpt":
            own = _uuid(fingerprint, area.name)
            text += f'{where}, type={gpt_type}, uuid={own}, name={area.name}, attrs="LegacyBIOSBootable"\n'
        else:
            text += f"{where}, type={dos_type}, bootable\n"
    run(["sfdisk", "--quiet", raw], input=text.encode())


def _partitions(plan: DiskPlan) -> tuple[Placed, ...]:
    """Those of the image, under their labels."""
    areas = ((boot_partition(plan), BOOT_LABEL), (spare_partition(plan), SPARE_LABEL))
    return tuple(msgspec.structs.replace(area, name=label) for area, label in areas if area is not None)


def _uuid(fingerprint: str, what: str) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{fingerprint} {what}")


def _fill(
    raw: Path,
    image: Image,
    plan: DiskPlan,
    slot: Mapping[str, bytes | Path],
    beside: Mapping[str, Path],
    fingerprint: str,
) -> int:
    """Make the boot partition's file system and write all its files; the bytes of it in use."""
    area = boot_partition(plan)
    fat = Fat(raw, area.start, area.size, image.epoch)
    fat.format(int(fingerprint[8:16], 16))
    files: dict[str, bytes | Path] = {f"{_SLOT}/{name}": content for name, content in slot.items()}
    files.update(beside)
    if plan.loader == "uefi":
        name = boot_uefi.FILE[image.arch]
        files[f"EFI/BOOT/{name}"] = image.artefact(f"boot/{name}").path
        files.update(boot_uefi.files(_SLOT, image.cmdline))
    spare = spare_partition(plan)
    if spare is not None:
        files["boot.scr"] = boot_uboot.script(boot_uboot.chooser(plan), "Skiff", image.arch, image.epoch)
        other = Fat(raw, spare.start, spare.size, image.epoch)
        other.format(int(fingerprint[16:24], 16), SPARE_LABEL)
        other.write({"boot.scr": files["boot.scr"]})
    fat.write(files)
    if plan.loader == "uboot":
        assert fat.reserved() > boot_uboot.STATE_SECTOR
        _write_at(raw, fat.start + boot_uboot.STATE_SECTOR * SECTOR, boot_uboot.state(_SLOT))
    return fat.used()


def _write_pieces(raw: Path, plan: DiskPlan, pieces: Mapping[str, Path]) -> None:
    for piece in plan.raw:
        if piece.name in pieces:
            _write_at(raw, piece.sector * SECTOR, pieces[piece.name].read_bytes())


def _write_at(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def _shortened(item: Placed, used: int) -> Placed:
    """What flashing has to write of it: a file system's free clusters may hold anything."""
    return Placed(item.name, item.start, used) if item.name == BOOT else item


def _finish(
    raw: Path,
    target: Path,
    written: list[Placed],
    plan: DiskPlan,
    fingerprint: str,
    step: Callable[[str], None],
) -> DiskImage:
    """Compress, sum up and map the image; only the results stay."""
    packed = raw.with_name(f"{raw.name}.zst")
    compress(raw, packed)
    step("checksums")
    ranges = block_ranges(written)
    mapping = raw.with_name(f"{raw.name}.bmap")
    mapping.write_bytes(block_map(raw, ranges))
    checksum = raw.with_name(f"{packed.name}.sha256")
    checksum.write_text(f"{file_digest(packed)}  {packed.name}\n")
    made = DiskImage(
        fingerprint=fingerprint,
        packed=_file(packed, target),
        checksum=_file(checksum, target),
        block_map=_file(mapping, target),
        bytes=raw.stat().st_size,
        sha256=file_digest(raw),
        mapped=sum(last - first + 1 for first, last in ranges) * BLOCK,
        loader=plan.loader,
        partitions=_partitions(plan),
    )
    raw.unlink()
    return made


def _file(path: Path, folder: Path) -> DiskFile:
    return DiskFile(folder / path.name, path.stat().st_size, file_digest(path))
