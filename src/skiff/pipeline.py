"""The way from recipe to image: the one place where the stages meet."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from skiff.builders import fingerprint
from skiff.builders.buildroot import build as source
from skiff.builders.buildroot import outdated, skiffos
from skiff.builders.buildroot.tree import compose as source_tree
from skiff.builders.built import Built
from skiff.builders.debian.archive import SUITE, Archive, NoSuchPackage, Resolver
from skiff.builders.debian.base_lock import base_files, lock_bases
from skiff.builders.debian.boot import loader_file, loader_packages
from skiff.builders.debian.compose import compose, request
from skiff.builders.debian.firmware import firmware
from skiff.builders.debian.interpreter import find_interpreter
from skiff.builders.debian.one_package import find_package, package_fact, package_file
from skiff.builders.debian.source import Sources, source_key
from skiff.builders.debian.unpack import Unpacked, licences, unpack_all
from skiff.builders.hooks import generated
from skiff.builders.linux.compile import Compiled
from skiff.builders.uboot.compile import UBOOT, Job, compile_uboot
from skiff.host import json
from skiff.host.dirs import blobs_dir
from skiff.host.errors import UserError
from skiff.host.files import write_atomic
from skiff.host.ui import Ui
from skiff.host.workspace import load_lock
from skiff.image.assemble import assemble, load
from skiff.image.disk import STEPS, check_fits, write_disk
from skiff.image.disk_pieces import find_files, find_input, find_pieces, wants_uboot
from skiff.image.parts import split
from skiff.image.slot import write_slot
from skiff.model.arch import Arch
from skiff.model.disk import DiskImage
from skiff.model.firmware import Firmware
from skiff.model.image import Image, PackageFact
from skiff.model.layer import BootFile
from skiff.model.packages import BootLock, Package, PackageSet
from skiff.model.recipe import Recipe
from skiff.model.workspace import Workspace
from skiff.pipeline_buildroot import configure
from skiff.pipeline_linux import compiled_kernel, find_linux, linux_facts, linux_state


class Options(msgspec.Struct, frozen=True):
    """How to build, as opposed to what."""

    mirror: str | None = None
    locked: bool = False
    update: bool = False
    source: source.How = source.How()


def build(recipe: Recipe, workspace: Workspace, cache: Path, options: Options, ui: Ui) -> tuple[Image, bool]:
    """The image for a recipe, and whether it had to be built. Raises UserError for what the user can mend."""
    if recipe.builder == "buildroot":
        return _build_from_source(recipe, workspace, cache, options, ui)
    _refuse_packages_of_skiffos(recipe)
    packages = resolve_packages(recipe, workspace, cache, options, ui)
    linux = linux_state(recipe, packages.linux)
    key = fingerprint.of_packages(recipe, packages, linux, _written(workspace, cache))
    present = load(workspace.image)
    if present is not None and present.recipe_sha256 == key:
        return present, False
    compiled = compiled_kernel(recipe, packages.linux, cache, options.mirror, options.source.strict, ui)
    unpacked = _unpack("packages", recipe.arch, packages.packages, cache, options, ui)
    tools = _unpack("tools", Arch.host(), packages.tools, cache, options, ui) if packages.tools else []
    named = licences(unpacked)
    facts = [
        PackageFact(one.name, one.version, one.arch, one.sha256, named[one.name], one.source)
        for one in (item.package for item in unpacked)
    ]
    facts += linux_facts(recipe, packages.linux, cache, options.mirror)
    with _scratch() as scratch:
        built = _compose(recipe, unpacked, compiled, packages, tools, scratch, cache, ui)
        return _pack(recipe, workspace, built, key, packages.epoch, facts, cache, ui), True


def _refuse_packages_of_skiffos(recipe: Recipe) -> None:
    """Nothing of them but files would get in: everything else they say is for Buildroot."""
    for layer in recipe.layers:
        if layer.skiffos and not layer.name.startswith("overrides"):
            raise UserError(
                f"{layer.name} is a config package of SkiffOS, and speaks of Buildroot alone",
                hint="build with --builder buildroot, or make a layer of it: `skiff import-skiffos`",
            )


def _build_from_source(
    recipe: Recipe, workspace: Workspace, cache: Path, options: Options, ui: Ui
) -> tuple[Image, bool]:
    if recipe.skiffos:
        raise UserError(
            "SkiffOS's own system is no image of Skiff's",
            hint="compile it with `skiff br -- all`; it lies in the workspace's buildroot/output/images",
        )
    if options.locked and _is_started(recipe):
        # Said before hours go into the image.
        _boot_lock(recipe, workspace, cache, options, ui)
    loader = _source_loader(recipe, workspace, cache, options, ui)
    configured = configure(recipe, workspace, cache, options.source, ui)
    epoch = configured.make.release.epoch
    present = load(workspace.image)
    written = _written(workspace, cache)
    held = outdated.contents(recipe)
    given = [*held.values(), *(package.sha256 for package in loader)]
    if present is not None and present.recipe_sha256 == fingerprint.of_recipe(
        recipe, [*source.state(configured), *given], written
    ):
        return present, False
    for script in skiffos.scripts(recipe):
        ui.notice(f"will run {script}")
    packages = source.packages(configured)
    for line in outdated.renew(recipe, configured, packages, held):
        ui.notice(line)
    with ui.step("compile", total=len(packages)) as step:
        warnings = source.compile_all(configured, packages, options.source, step.detail, step.advance)
    boot = {}
    for package in loader:
        path, name = loader_file(recipe)
        boot[f"boot/{name}"] = package_file(package, path, recipe.arch, cache, options.mirror)
    with _scratch() as scratch:
        with ui.step("compose") as step:
            extra = generated(recipe, scratch, ui.notice)
            output = configured.make.places.output
            built = source_tree(recipe, output, extra, boot, epoch, step.detail)
        for line in warnings:
            ui.warn(line)
        # A layer's own packages are a part of their own here too.
        owned = {f"packages[{name}]": layer for name, layer in source.owners(configured).items()}
        key = fingerprint.of_recipe(recipe, [*source.state(configured), *given], written)
        facts = source.facts(recipe.arch, packages, configured.make.places)
        facts += [package_fact(one, recipe.arch, cache, options.mirror) for one in loader]
        recipe = msgspec.structs.replace(recipe, origins={**recipe.origins, **owned})
        return _pack(recipe, workspace, built, key, epoch, facts, cache, ui), True


def _written(workspace: Workspace, cache: Path) -> tuple[Path, ...]:
    """Folders that builds and machines write to; a project that is a layer itself may have them in it."""
    return workspace.root, workspace.root.parent, cache


def _source_loader(
    recipe: Recipe, workspace: Workspace, cache: Path, options: Options, ui: Ui
) -> list[Package]:
    """The package with the UEFI loader for what Buildroot compiles, if the recipe has one."""
    names = _loader_names(recipe)
    if not names:
        return []
    lock = _boot_lock(recipe, workspace, cache, options, ui)
    return [package for package in lock.packages if package.name in names]


def _loader_names(recipe: Recipe) -> list[str]:
    """The UEFI loader is Debian's under both builders: Buildroot has it with systemd alone.

    None for an image of packages, which has it among them.
    """
    return loader_packages(recipe) if recipe.builder == "buildroot" else []


def _is_started(recipe: Recipe) -> bool:
    """Whether something that starts the board comes from the archive, beside the image's packages."""
    return bool(recipe.uboot_defconfig or recipe.boot_files or _loader_names(recipe))


def _pack(
    recipe: Recipe,
    workspace: Workspace,
    built: Built,
    key: str,
    epoch: int,
    packages: list[PackageFact],
    cache: Path,
    ui: Ui,
) -> Image:
    for line in built.warnings:
        ui.warn(line)
    parts = split(built.tree, recipe, built.early)
    with ui.step("image", total=len(parts) + 1) as step:
        return assemble(
            workspace.image,
            recipe,
            fingerprint=key,
            epoch=epoch,
            parts=parts,
            early={path: built.tree[path] for path in built.early},
            kernel=built.kernel.file,
            boot=built.boot,
            boot_modules=[(name, built.kernel.modules[name]) for name in built.kernel.boot],
            packages=packages,
            owners=built.owners,
            cache=cache,
            step=_stepper(step.detail, step.advance),
        )


def resolve_packages(
    recipe: Recipe, workspace: Workspace, cache: Path, options: Options, ui: Ui
) -> PackageSet:
    """Which packages: from the lock when ``options.locked``, else from the archive."""
    if options.locked:
        return _with_tools(recipe, _locked(recipe, workspace), cache, options, ui)
    with ui.step("resolve packages"):
        resolver = Resolver(Archive(recipe.arch, cache, options.mirror), cache)
        try:
            packages = resolver.packages(
                request(recipe), recipe.provided, update=options.update, warn=ui.warn
            )
        except NoSuchPackage as error:
            raise UserError(f"{error.message} ({_askers(recipe, error.names)})", hint=error.hint) from error
        bases = lock_bases(recipe.bases, resolver, options.mirror, update=options.update, warn=ui.warn)
        linux = find_linux(recipe, cache, options.mirror, ui.warn, update=options.update)
        packages = msgspec.structs.replace(packages, bases=bases, linux=linux)
        return _with_tools(recipe, packages, cache, options, ui)


def _with_tools(recipe: Recipe, packages: PackageSet, cache: Path, options: Options, ui: Ui) -> PackageSet:
    """With what runs on this machine while the image is built: the lock's, unless it is for another CPU."""
    tools = find_interpreter(recipe, packages, cache, options.mirror, ui.warn, update=options.update)
    return msgspec.structs.replace(packages, tools=tools)


def _askers(recipe: Recipe, packages: Sequence[str]) -> str:
    """The layers that ask for these packages, one of which may be the kernel's."""
    kernel = {recipe.kernel_package: recipe.origins.get("kernel_package")}
    names = (recipe.origins.get(f"packages[{name}]") or kernel.get(name) or "the tool" for name in packages)
    return ", ".join(f"layer {name}" for name in dict.fromkeys(names))


def disk(
    recipe: Recipe, image: Image, workspace: Workspace, cache: Path, options: Options, ui: Ui
) -> tuple[DiskImage, bool]:
    """The disk image of a built image, and whether it had to be made. Raises UserError when it cannot be."""
    # Said before minutes go into U-Boot for it.
    check_fits(image, cache, {})
    blobs = blobs_dir(workspace)
    uboot = _uboot(recipe, workspace, cache, options, ui) if wants_uboot(recipe, blobs) else {}
    pieces = find_pieces(recipe, cache, ui.notice, blobs, uboot)
    files = _boot_files(recipe, image, uboot, workspace, cache, options, ui)
    with ui.step("disk image", total=STEPS) as step:
        return write_disk(
            workspace.disk, image, pieces, cache, _stepper(step.detail, step.advance), beside=files
        )


def _boot_files(
    recipe: Recipe,
    image: Image,
    uboot: dict[str, Path] | None,
    workspace: Workspace,
    cache: Path,
    options: Options,
    ui: Ui,
) -> dict[str, Path]:
    """Further files of the boot partition, by their path there."""
    if not recipe.boot_files:
        return {}
    lock = _boot_lock(recipe, workspace, cache, options, ui)

    def from_package(file: BootFile) -> Path:
        package = next(one for one in lock.packages if one.name == file.package)
        return package_file(package, file.path, recipe.arch, cache, options.mirror)

    return find_files(recipe, image, uboot, from_package)


def _uboot(
    recipe: Recipe, workspace: Workspace, cache: Path, options: Options, ui: Ui
) -> dict[str, Path] | None:
    """U-Boot's files by name, compiled when they are not in the cache; copies lie in the workspace.

    None when a file of the vendor's is missing for it, which is told.
    """
    lock = _boot_lock(recipe, workspace, cache, options, ui)
    inputs = {}
    for item in recipe.uboot_inputs:
        if item.package:
            package = next(one for one in lock.packages if one.name == item.package)
            inputs[item.name] = package_file(package, item.path, recipe.arch, cache, options.mirror)
            continue
        found = find_input(item, cache, blobs_dir(workspace), ui.notice)
        if found is None:
            return None
        inputs[item.name] = found
    job = Job(
        arch=recipe.arch,
        defconfig=recipe.uboot_defconfig,
        target=recipe.uboot_target,
        files=recipe.uboot_files,
        fragments=tuple(path for layer in recipe.layers for path in sorted(layer.uboot.glob("*.config"))),
        inputs=inputs,
    )
    with ui.step("U-Boot") as step:
        assert lock.source is not None
        folder = Sources(cache, options.mirror).unpack(lock.source, cache, step.detail)
        made = compile_uboot(job, folder, source_key(lock.source), cache, step.detail)
    for name, path in made.items():
        write_atomic(workspace.uboot / name, path.read_bytes())
    return made


def _boot_lock(recipe: Recipe, workspace: Workspace, cache: Path, options: Options, ui: Ui) -> BootLock:
    """What the boot partition and U-Boot take from the archive: the lock's when locked, else of today."""
    named = [item.package for item in recipe.uboot_inputs] + [file.package for file in recipe.boot_files]
    names = dict.fromkeys(name for name in [*named, *_loader_names(recipe)] if name)
    if options.locked:
        lock = _locked(recipe, workspace).boot
        if {*names} - {item.name for item in lock.packages} or (recipe.uboot_defconfig and not lock.source):
            raise UserError(
                f"{workspace.lock}: the lock tells nothing of what starts this board",
                hint="write a new one with `skiff lock`",
            )
        return lock
    source = None
    if recipe.uboot_defconfig:
        source = Sources(cache, options.mirror).find(UBOOT, cache, warn=ui.warn, update=options.update)
    packages = [
        find_package(recipe.arch, name, cache, options.mirror, ui.warn, update=options.update)
        for name in names
    ]
    return BootLock(source, tuple(packages))


def slot(folder: Path, image: Image, cache: Path, key: Path | None, ui: Ui) -> None:
    """The files of a slot with this image, in an empty folder, signed with ``key`` if there is one."""
    with ui.step("slot"):
        write_slot(folder, image, cache, key)


def firmware_for(image: Image, cache: Path, options: Options, ui: Ui) -> Firmware:
    """Firmware that starts the image's disk in a virtual machine. Raises UserError when there is none."""
    loader = image.disk.loader if image.disk else ""
    with ui.step("firmware"):
        return firmware(image.arch, loader, cache, options.mirror, ui)


def _locked(recipe: Recipe, workspace: Workspace) -> PackageSet:
    packages = load_lock(workspace)
    # Of what Buildroot compiles, a lock has only what starts the board.
    unpacked = recipe.builder != "buildroot"
    asked = [(base.path, base.packages) for base in recipe.bases if unpacked]
    if (
        packages.request != (tuple(request(recipe)) if unpacked else ())
        # What is provided another way is not unpacked.
        or packages.provided != recipe.provided
        or packages.arch != recipe.arch
        or [(base.path, base.request) for base in packages.bases] != asked
    ):
        raise UserError(
            f"{workspace.lock}: the lock is for other packages or another CPU than this recipe's",
            hint="write a new one with `skiff lock`",
        )
    return packages


def write_lock(recipe: Recipe, workspace: Workspace, cache: Path, options: Options, ui: Ui) -> PackageSet:
    """Resolve anew and write the lock. Raises UserError when packages cannot be resolved."""
    started = _is_started(recipe)
    if recipe.builder == "buildroot":
        if not started:
            raise UserError(
                "what Buildroot compiles needs no lock: its release says every version",
                hint="`skiff br fetch` collects the sources with their checksums",
            )
        packages = PackageSet(recipe.arch, SUITE, (), recipe.provided, 0, ())
    else:
        packages = resolve_packages(recipe, workspace, cache, options, ui)
    if started:
        boot = _boot_lock(recipe, workspace, cache, options, ui)
        packages = msgspec.structs.replace(packages, boot=boot)
    write_atomic(workspace.lock, json.encode(packages))
    return packages


def _unpack(
    what: str, arch: Arch, packages: Sequence[Package], cache: Path, options: Options, ui: Ui
) -> list[Unpacked]:
    with ui.step(f"fetch {what}", total=len(packages)) as step:
        debs = Archive(arch, cache, options.mirror).fetch(packages, step.detail)
        step.advance(len(debs))
    with ui.step(f"unpack {what}", total=len(packages)) as step:
        return unpack_all(packages, debs, cache, _stepper(step.detail, step.advance))


def _compose(
    recipe: Recipe,
    unpacked: list[Unpacked],
    compiled: Compiled | None,
    packages: PackageSet,
    tools: list[Unpacked],
    scratch: Path,
    cache: Path,
    ui: Ui,
) -> Built:
    extra = [
        *generated(recipe, scratch, ui.notice),
        *base_files(packages.arch, packages.suite, packages.bases),
    ]
    with ui.step("compose") as step:
        return compose(recipe, unpacked, compiled, extra, packages.epoch, tools, cache, step.detail)


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for what hooks of layers write. The tree takes its files from there, until they are packed."""
    with tempfile.TemporaryDirectory(prefix="skiff-hooks-") as scratch:
        yield Path(scratch)


def _stepper(detail: Callable[[str], None], advance: Callable[[int], None]) -> Callable[[str], None]:
    def step(name: str) -> None:
        detail(name)
        advance(1)

    return step
