"""Tree and kernel into the files of an image, swapped in whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from skiff.host import json
from skiff.host.files import file_digest, swap_folder, write_atomic
from skiff.image.budget import check_budgets
from skiff.image.initramfs import write_initramfs
from skiff.image.parts import Part, small_level
from skiff.image.squashfs import pack_part
from skiff.model.disk import DiskPlan
from skiff.model.image import Artefact, FileFact, Image, Manifest, PackageFact, PartFact
from skiff.model.recipe import Recipe
from skiff.model.tree import Entry


def assemble(
    target: Path,
    recipe: Recipe,
    *,
    fingerprint: str,
    epoch: int,
    parts: Sequence[Part],
    early: Mapping[str, Entry],
    kernel: Path,
    boot: Mapping[str, Path],
    boot_modules: Sequence[tuple[str, Path]],
    packages: Sequence[PackageFact],
    owners: Mapping[str, str],
    cache: Path,
    step: Callable[[str], None],
) -> Image:
    """Write kernel, initramfs, image.json and manifest.json to the folder ``target``, all or nothing.

    ``boot``: further files for the boot partition, by the name that they get there. ``owners``: the layer
    that each file is there for. Raises UserError when a layer adds more than its budget.
    """
    packed: dict[str, Path] = {}
    for part in parts:
        step(part.name)
        packed[part.name] = pack_part(part.entries, part.compression, epoch, cache)
    step("initramfs")
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f".{target.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    try:
        shutil.copyfile(kernel, new / "kernel")
        for name, path in boot.items():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, new / name)
        first = write_initramfs(
            new / "initramfs",
            early=early,
            modules=boot_modules,
            parts=packed,
            first_parts={part.name for part in parts if part.first},
            epoch=epoch,
            level=small_level(recipe),
            cache=cache,
        )
        artefacts = [_artefact(name, new / name, target) for name in ("kernel", "initramfs", *boot)]
        image = _image(recipe, fingerprint, artefacts, epoch)
        sizes = [
            PartFact("early", first),
            *(PartFact(name, path.stat().st_size) for name, path in packed.items()),
        ]
        files = [
            msgspec.structs.replace(fact, layer=owners.get(fact.path, ""))
            for fact in _files(parts, early, boot_modules)
        ]
        manifest = Manifest(tuple(sizes), tuple(files), tuple(packages), _kernel_layer(recipe))
        check_budgets(recipe.budgets, manifest, image.artefacts)
        write_atomic(new / "image.json", json.encode(image))
        write_atomic(new / "manifest.json", json.encode(manifest))
        swap_folder(new, target)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return image


def _image(recipe: Recipe, fingerprint: str, artefacts: Sequence[Artefact], epoch: int) -> Image:
    return Image(
        arch=recipe.arch,
        layers=recipe.names,
        recipe_sha256=fingerprint,
        artefacts=tuple(artefacts),
        cmdline=recipe.cmdline,
        hostname=recipe.hostname,
        engine=recipe.engine,
        qemu_machine=recipe.qemu_machine,
        qemu_memory=recipe.qemu_memory,
        qemu_cpus=recipe.qemu_cpus,
        epoch=epoch,
        disk=disk_plan(recipe),
        board=recipe.board,
    )


def disk_plan(recipe: Recipe) -> DiskPlan:
    """How the disk image of a recipe is laid out."""
    return DiskPlan(
        table=recipe.disk_table,
        start=recipe.disk_start,
        size=recipe.disk_size,
        loader=recipe.loader,
        dtbs=recipe.dtbs,
        load=recipe.load,
        raw=recipe.raw,
    )


def _artefact(name: str, path: Path, target: Path) -> Artefact:
    return Artefact(name, target / name, path.stat().st_size, file_digest(path))


def _kernel_layer(recipe: Recipe) -> str:
    """The layer that chose the kernel; empty when it is the default, which is the first layer's."""
    layer = recipe.origins.get("kernel_source" if recipe.kernel_source else "kernel_package", "")
    return "" if layer == recipe.names[0] else layer


def _files(
    parts: Sequence[Part], early: Mapping[str, Entry], boot_modules: Sequence[tuple[str, Path]]
) -> list[FileFact]:
    facts = [FileFact(path, entry.size, entry.origin, "early") for path, entry in sorted(early.items())]
    facts += [
        FileFact(f"modules/{name}.ko", path.stat().st_size, "kernel (modules of /init)", "early")
        for name, path in boot_modules
    ]
    for part in parts:
        facts += [
            FileFact(path, entry.size, entry.origin, part.name)
            for path, entry in sorted(part.entries.items())
            if entry.size
        ]
    return facts


def load(folder: Path) -> Image | None:
    """The image in a folder; None when there is none that is whole. Its files are those there."""
    try:
        image = json.decode((folder / "image.json").read_bytes(), Image)
    except (OSError, msgspec.DecodeError):
        return None
    # It may be a copy of the folder that is named there.
    here = [msgspec.structs.replace(item, path=folder / item.name) for item in image.artefacts]
    image = msgspec.structs.replace(image, artefacts=tuple(here))
    whole = all(item.path.exists() and item.path.stat().st_size == item.bytes for item in image.artefacts)
    return image if whole else None


def load_manifest(folder: Path) -> Manifest:
    """The manifest of the image in a folder."""
    return json.decode((folder / "manifest.json").read_bytes(), Manifest)
