"""The `buildroot` builder: recipe → external tree → configured and compiled output folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from skiff.builders.buildroot import release
from skiff.builders.buildroot.checks import check_host
from skiff.builders.buildroot.dropped import dropped, report
from skiff.builders.buildroot.external import Places, Plan, externals, plan, write_external
from skiff.builders.buildroot.fragments import Kind, collect, read
from skiff.builders.buildroot.kconfig import Kconfig
from skiff.builders.buildroot.make import Make, PackageInfo, is_built
from skiff.builders.buildroot.sources import check_offline
from skiff.builders.buildroot.toolchain import debian_toolchain
from skiff.host import json
from skiff.host.files import digest, file_digest, write_atomic
from skiff.model.arch import Arch
from skiff.model.image import PackageFact
from skiff.model.recipe import Recipe

Say = Callable[[str], None]
# Where each Kconfig program's own output lies, and its target that makes the configuration.
_INNER = {
    Kind.KERNEL: ("linux", "linux-configure"),
    Kind.BUSYBOX: ("busybox", "busybox-configure"),
    Kind.UBOOT: ("uboot", "uboot-configure"),
}
# Folders of a tree of the user's that Buildroot, or git, writes to.
_MADE = (".git", "dl", "output")


class How(msgspec.Struct, frozen=True):
    """How to build, as opposed to what."""

    buildroot: Path | None = None
    strict: bool = False
    offline: bool = False
    # Folder of sources; None means the shared one in the cache.
    downloads: Path | None = None


class Configured(msgspec.Struct, frozen=True):
    """A recipe that Buildroot's Kconfig has seen."""

    make: Make
    plan: Plan
    # What settings came to nothing, a line each.
    warnings: tuple[str, ...]
    # The same for the same configuration, sources and release: what is compiled depends on nothing else.
    key: str


def configure(recipe: Recipe, folder: Path, cache: Path, how: How) -> Configured:
    """Write the external tree below ``folder`` and let Kconfig decide. It takes seconds and no source.

    Raises UserError for what the user can mend, settings without effect too when ``how.strict``.
    """
    found = release.find(how.buildroot, cache)
    places = Places(
        external=folder / "external",
        output=folder / "output",
        downloads=how.downloads or cache / "sources" / "buildroot",
        ccache=cache / "ccache",
    )
    check_host(places, found.root)
    toolchain = debian_toolchain(recipe.arch, cache) if recipe.toolchain == "debian" else None
    wanted = plan(recipe, toolchain.config if toolchain else "")
    defconfig = write_external(recipe, wanted, places, offline=how.offline)
    make = Make(found, places, externals(recipe, places), folder / "build.log")
    key = _key(defconfig.parent, make, own=how.buildroot is not None)
    before = folder / "configured"
    if not places.config.exists() or not before.exists() or before.read_text() != key:
        before.unlink(missing_ok=True)
        make.defconfig(defconfig)
        write_atomic(before, key.encode())
    config = read(places.config.read_text())
    kconfig = None
    lost = dropped(wanted.buildroot, config, None)
    if lost:
        # Reading ten thousand symbols takes a second: only to explain.
        variables = {"BR2_BASE_DIR": str(places.output)}
        kconfig = Kconfig(found.root / "Config.in", found.root, variables, "")
        lost = dropped(wanted.buildroot, config, kconfig)
    told = [line for kind in Kind for one in collect(recipe.layers, recipe.arch, kind) for line in one.unread]
    told += [f"Buildroot: {one}" for one in lost]
    return Configured(make, wanted, tuple(report(told, strict=how.strict)), key)


def _key(external: Path, make: Make, *, own: bool) -> str:
    """``own``: Buildroot's tree is the user's, who may change it while its version stays."""
    lines = [f"{path.name} {path.read_text()}" for path in _files(external)]
    for tree in make.externals:
        if tree != external:
            lines += (f"{path} {file_digest(path)}" for path in _files(tree))
    if own:
        lines += _described(make.release.root)
    return digest("\n".join([make.release.id, str(make.release.root), *lines]))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _described(root: Path) -> Iterator[str]:
    """A line for each file of a tree that tells of options or packages: ten thousand, so none is read."""
    for place, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if Path(place) != root or name not in _MADE)
        for name in sorted(files):
            if name.startswith("Config.in") or name.endswith((".mk", ".hash")):
                facts = Path(place, name).lstat()
                yield f"{place}/{name} {facts.st_size} {facts.st_mtime_ns}"


def contested(configured: Configured) -> list[str]:
    """Symbols that layers set differently, with who says what; `base` is there to be overruled."""
    return [
        f"{symbol} ({', '.join(f'{layer}: {value}' for layer, value in setting.said)})"
        for kind in Kind
        for symbol, setting in configured.plan.of(kind).items()
        if len({value for layer, value in setting.said if layer != "base"}) > 1
    ]


def compile_all(
    configured: Configured,
    packages: Sequence[PackageInfo],
    how: How,
    detail: Say,
    done: Callable[[int], None],
) -> list[str]:
    """Build, or go on where the last build stopped. Returns warnings: settings without effect.

    ``done`` hears how many packages more are finished. Raises UserError for a package that fails.
    """
    make = configured.make
    if how.offline:
        check_offline(packages, make.places.downloads)
    names = {package.name for package in packages}
    ready = {package.name for package in packages if is_built(package, make.places.output)}
    done(len(ready))

    def finished(name: str) -> None:
        if name in names and name not in ready:
            ready.add(name)
            done(1)

    inner = [kind for kind, (name, _) in _INNER.items() if name in names and configured.plan.of(kind)]
    make.run([_INNER[kind][1] for kind in inner], detail, lambda _: None)
    warnings = [line for kind in inner for line in _check_inner(configured, kind, how)]
    make.run([], detail, finished)
    return warnings


def _check_inner(configured: Configured, kind: Kind, how: How) -> list[str]:
    """What became of the settings for the kernel, busybox or U-Boot, once their own Kconfig has run."""
    name, _ = _INNER[kind]
    output = configured.make.places.output
    folder = next(
        (path for path in sorted((output / "build").glob(f"{name}-*")) if (path / ".config").is_file()), None
    )
    if folder is None:
        return []
    config = read((folder / ".config").read_text())
    settings = configured.plan.of(kind)
    lost = dropped(settings, config, None)
    if lost:
        top = folder / ("Config.in" if kind is Kind.BUSYBOX else "Kconfig")
        lost = dropped(settings, config, Kconfig(top, folder, _variables(config), "CONFIG_"))
    return report([f"{kind.value}: {one}" for one in lost], strict=how.strict)


def _variables(config: dict[str, str]) -> dict[str, str]:
    """What the kernel's Kconfig files call its folder of a CPU."""
    for symbol, name in (("X86", "x86"), ("ARM64", "arm64"), ("ARM", "arm"), ("RISCV", "riscv")):
        if config.get(f"CONFIG_{symbol}") == "y":
            return {"SRCARCH": name, "ARCH": name}
    return {}


def packages(configured: Configured) -> list[PackageInfo]:
    """All packages of a configuration. Asking takes seconds, so the answer is kept as long as it holds."""
    kept = configured.make.places.output.parent / "packages.json"
    stamp = kept.with_name("packages.key")
    if kept.exists() and stamp.exists() and stamp.read_text() == configured.key:
        return json.decode(kept.read_bytes(), list[PackageInfo])
    found = configured.make.packages()
    write_atomic(kept, json.encode(found))
    write_atomic(stamp, configured.key.encode())
    return found


def state(configured: Configured) -> list[str]:
    """What tells whether the output changed since: by a build, or by the user's hand (`skiff br`)."""
    output = configured.make.places.output
    watched = [output / ".config", output / "images/rootfs.tar"]
    # Settings of a package, and that it was built: alone, by the user, it is in no image yet.
    for name in (".config", ".stamp_installed"):
        watched += sorted(output.glob(f"build/*/{name}"))
    facts = [path.stat() for path in watched if path.is_file()]
    return [configured.key, *(f"{fact.st_mtime_ns} {fact.st_size}" for fact in facts)]


def owners(configured: Configured) -> dict[str, str]:
    """Package → the layer whose fragment asks for it."""
    return {
        symbol.removeprefix("BR2_PACKAGE_").lower().replace("_", "-"): setting.layer
        for symbol, setting in configured.plan.buildroot.items()
        if symbol.startswith("BR2_PACKAGE_") and setting.value == "y"
    }


def facts(arch: Arch, packages: Sequence[PackageInfo], places: Places) -> list[PackageFact]:
    """What the owner of an image is told of its packages. Those of the build machine are not in it."""
    inside = [package for package in packages if package.version and not package.name.startswith("host-")]
    return [
        PackageFact(
            package.name, package.version, arch.value, _source_digest(package, places), package.licences
        )
        for package in inside
    ]


def _source_digest(package: PackageInfo, places: Places) -> str:
    for name in package.sources:
        if (places.downloads / name).is_file():
            return file_digest(places.downloads / name)
    return ""
