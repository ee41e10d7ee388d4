"""What Buildroot would keep though it no longer is what the recipe says.

Buildroot compiles a package once, and looks at nothing but its stamps from then on: not at options, patches,
sources or the compiler. It installs into one folder, `target`, and never takes out what was installed before.
So what each package is made of is written down here, and what has changed since is made anew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from skiff.builders.buildroot import skiffos
from skiff.builders.buildroot.build import Configured
from skiff.builders.buildroot.external import folders_of, make_name
from skiff.builders.buildroot.fragments import read
from skiff.builders.buildroot.make import PackageInfo
from skiff.host import json
from skiff.host.files import digest, file_digest, write_atomic
from skiff.model.recipe import Recipe

# Symbols by which all that is compiled changes: Buildroot's manual, "Understanding when a full rebuild is
# necessary", and what it hands to every compiler.
_EVERYTHING = (
    "BR2_ARCH",
    "BR2_BINUTILS_",
    "BR2_DEBUG_",
    "BR2_ENABLE_DEBUG",
    "BR2_ENABLE_LTO",
    "BR2_ENABLE_RUNTIME_DEBUG",
    "BR2_ENDIAN",
    "BR2_FORTIFY_",
    "BR2_GCC_",
    "BR2_KERNEL_HEADERS_",
    "BR2_OPTIMIZE_",
    "BR2_PER_PACKAGE_",
    "BR2_PIC_PIE",
    "BR2_RELRO_",
    "BR2_ROOTFS_MERGED_USR",
    "BR2_SHARED_",
    "BR2_SSP_",
    "BR2_STATIC_LIBS",
    "BR2_TARGET_LDFLAGS",
    "BR2_TARGET_OPTIMIZATION",
    "BR2_TOOLCHAIN_",
)
# Packages whose symbols do not begin as those of others do, and folders of layers with patches for them.
_SYMBOLS = {"BR2_LINUX_KERNEL": "linux", "BR2_TARGET_UBOOT": "uboot"}
_PATCHES = {"linux": "kernel_patches", "uboot": "uboot_patches"}
# Their own build knows what other options touch, and the rest would take long.
_INCREMENTAL = ("linux",)
# Buildroot's stamps, by the step that is taken again; all installing comes after each.
_INSTALLED = tuple(f".stamp_{place}installed" for place in ("", "host_", "staging_", "target_", "images_"))
_COPY_AGAIN = (".stamp_rsynced", ".stamp_built", *_INSTALLED)
_CONFIGURE_AGAIN = (".stamp_configured", ".stamp_built", *_INSTALLED)
_NO_SOURCE = (".git", ".svn", ".hg", ".bzr", "CVS")


class Inputs(msgspec.Struct, frozen=True):
    """What one package is made of. The last three are hashes."""

    # Below Buildroot's output.
    build_dir: str
    # Source, patches, variables, and its own files where a layer brings the package.
    source: str
    options: str
    # The folder that is its source: what lies there, when one does.
    content: str


class Record(msgspec.Struct, frozen=True):
    """What an output folder is made of."""

    everything: str
    packages: dict[str, Inputs]
    # Packages that were taken out. They are still compiled, should they come back.
    left: dict[str, Inputs] = {}
    # What lies in folders `root_overlay` of layers, which is copied into `target` after all packages.
    overlay: tuple[str, ...] = ()
    # Script that writes there then → hash.
    hooks: dict[str, str] = {}


def renew(
    recipe: Recipe, configured: Configured, packages: Sequence[PackageInfo], held: Mapping[str, str]
) -> list[str]:
    """Have the next build make anew what is outdated; ``held``: what `contents` gave.

    Returns a line for the user on each kind of change. Raises OSError when something cannot be removed.
    """
    places = configured.make.places
    file = places.output.parent / "made-of.json"
    now = _record(recipe, configured, packages, held)
    lines: list[str] = []
    if file.exists() and (places.output / "build").is_dir():
        before = json.decode(file.read_bytes(), Record)
        if before.everything != now.everything:
            configured.make.run(["clean"], lambda _: None, lambda _: None)
            lines = ["another compiler or CPU, or another Buildroot: everything is compiled anew"]
        else:
            known = {**before.left, **before.packages}
            gone = [name for name in before.packages if name not in now.packages]
            lines = _renew_packages(known, now.packages, gone, places.output)
            lines += _renew_added(before, now, places.output)
            left = {name: inputs for name, inputs in known.items() if name not in now.packages}
            now = msgspec.structs.replace(now, left=left)
    # Last: what is broken off before is done again.
    write_atomic(file, json.encode(now))
    return lines


def contents(recipe: Recipe) -> dict[str, str]:
    """Package → a hash of the folder that is its source, by names, sizes and times of what lies there."""
    return {
        package: _content(Path(source.folder))
        for package, source in sorted(recipe.buildroot_sources.items())
        if source.folder
    }


def _renew_packages(
    known: Mapping[str, Inputs], now: Mapping[str, Inputs], gone: Sequence[str], output: Path
) -> list[str]:
    changed = [name for name, inputs in now.items() if name in known and inputs != known[name]]
    for name in changed:
        _forget(name, known[name], now[name], output)
    # What is for the build machine is in no image.
    gone = [name for name in gone if not name.startswith("host-")]
    if gone or any(not name.startswith("host-") for name in changed):
        _empty_target(output)
    lines = []
    if changed:
        lines.append(f"compiled anew, as what it is made of changed: {', '.join(changed)}")
    if gone:
        lines.append(f"no longer in the image: {', '.join(gone)}")
    return lines


def _renew_added(before: Record, now: Record, output: Path) -> list[str]:
    """The same for what comes into `target` besides packages."""
    gone = sorted({*before.overlay} - {*now.overlay})
    changed = [name for name, content in before.hooks.items() if now.hooks.get(name) != content]
    if gone or changed:
        _empty_target(output)
    lines = [f"no longer in the image: {', '.join(f'/{path}' for path in gone)}"] if gone else []
    return lines + [f"packed anew without what the hook wrote before: {name}" for name in changed]


def _forget(name: str, before: Inputs, now: Inputs, output: Path) -> None:
    """Have Buildroot take the first step of a package again that has changed."""
    folder = output / now.build_dir
    if msgspec.structs.replace(before, content=now.content) == now:
        _take_stamps(folder, _COPY_AGAIN)
    elif name in _INCREMENTAL and msgspec.structs.replace(before, options=now.options) == now:
        _take_stamps(folder, _CONFIGURE_AGAIN)
    else:
        _remove(folder)
        _remove(output / "per-package" / name)


def _empty_target(output: Path) -> None:
    """Have all packages installed again; none is compiled for it."""
    stamps = [*output.glob("build/*/.stamp_target_installed")]
    # It installs the compiler's libraries there as well.
    stamps += output.glob("build/host-gcc-final-*/.stamp_host_installed")
    for stamp in stamps:
        stamp.unlink()
    _remove(output / "target")


def _remove(folder: Path) -> None:
    """Errors count: what stays would be taken for made anew."""
    if folder.is_dir():
        shutil.rmtree(folder)


def _take_stamps(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)


def _record(
    recipe: Recipe, configured: Configured, packages: Sequence[PackageInfo], held: Mapping[str, str]
) -> Record:
    # A symbol that is off comes and goes with what it depends on.
    config = {
        symbol: value
        for symbol, value in read(configured.make.places.config.read_text()).items()
        if value != "n"
    }
    own = {make_name(package.name): package.name for package in packages}
    options = _by_owner(config, lambda symbol: _owner_of_symbol(symbol, own))
    named = _by_owner(recipe.buildroot_variables, lambda variable: _owner(variable, own))
    brought = {file.stem: file.parent for tree in configured.make.externals for file in tree.rglob("*.mk")}
    made = {}
    for package in packages:
        # What is virtual has none.
        if not package.build_dir:
            continue
        name = package.name.removeprefix("host-")
        source = recipe.buildroot_sources.get(name)
        # A package for the build machine takes what is not set for itself from the device's.
        variables = [*named.get(package.name, []), *named.get(name, [])]
        folders = [*_patches(recipe, name), *([brought[name]] if name in brought else [])]
        made[package.name] = Inputs(
            build_dir=package.build_dir,
            source=digest("\n".join([str(source), *variables, *_files(folders)])),
            options=digest("\n".join(options.get(package.name, []))),
            content=held.get(name, ""),
        )
    everything = [f"{symbol}={value}" for symbol, value in config.items() if symbol.startswith(_EVERYTHING)]
    return Record(
        digest("\n".join([configured.make.release.id, *everything])),
        made,
        overlay=tuple(_overlay(folders_of(recipe, "root_overlay"))),
        hooks={
            f"{layer.name}/pre.sh": file_digest(layer.hooks / "pre.sh")
            for layer in skiffos.hooks(recipe, "pre.sh")
        },
    )


def _overlay(folders: Iterable[Path]) -> list[str]:
    """Paths on the device of what lies in these folders."""
    found = [(folder, path) for folder in folders for path in folder.rglob("*")]
    return sorted({str(path.relative_to(top)) for top, path in found if path.is_symlink() or path.is_file()})


def _by_owner(values: Mapping[str, str], owner: Callable[[str], str]) -> dict[str, list[str]]:
    """Package → the lines of settings that are its own."""
    found: dict[str, list[str]] = {}
    for name, value in values.items():
        found.setdefault(owner(name), []).append(f"{name}={value}")
    return found


def _owner_of_symbol(symbol: str, own: Mapping[str, str]) -> str:
    for start, name in _SYMBOLS.items():
        if symbol.startswith(start):
            return name
    text = symbol.removeprefix("BR2_PACKAGE_")
    name = _owner(text, own) if text != symbol else ""
    # Packages such as linux-tools have names that begin with these.
    return "" if name in _SYMBOLS.values() else name


def _owner(text: str, own: Mapping[str, str]) -> str:
    """The package with the longest name that ``text`` begins with, word by word: `UTIL_LINUX_LIBS`."""
    while text and text not in own:
        text = text.rpartition("_")[0]
    return own.get(text, "")


def _patches(recipe: Recipe, package: str) -> list[Path]:
    """Folders of layers with patches for this package."""
    found = [
        folder / package for part in ("patches", "buildroot_patches") for folder in folders_of(recipe, part)
    ]
    return [*found, *(folders_of(recipe, _PATCHES[package]) if package in _PATCHES else [])]


def _files(folders: Iterable[Path]) -> Iterator[str]:
    """A line for each file in these folders."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                yield f"{path.relative_to(folder)} {file_digest(path)}"


def _content(folder: Path) -> str:
    lines = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _NO_SOURCE)
        for name in sorted(files):
            facts = Path(place, name).lstat()
            lines.append(f"{place}/{name} {facts.st_size} {facts.st_mtime_ns}")
    return digest("\n".join(lines))
