"""What Buildroot would keep though it no longer is what the recipe says.

Buildroot compiles a package once, and looks at nothing but its stamps from then on: not at options, patches,
sources or the compiler. It installs into one folder, `target`, and never takes out what was installed before.
So what each package is made of is written down here, and what has changed since is made anew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from skiff.builders.buildroot.build import Configured
from skiff.builders.buildroot.external import Places, folders_of, make_name
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
    "BR2_ENABLE_",
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


def renew(recipe: Recipe, configured: Configured, packages: Sequence[PackageInfo]) -> list[str]:
    """Have the next build make anew what is outdated. Returns a line for the user on each kind of change."""
    places = configured.make.places
    file = places.output.parent / "made-of.json"
    now = _record(recipe, configured, packages)
    lines: list[str] = []
    if file.exists() and (places.output / "build").is_dir():
        before = json.decode(file.read_bytes(), Record)
        if before.everything != now.everything:
            configured.make.run(["clean"], lambda _: None, lambda _: None)
            lines = ["another compiler or CPU, or another Buildroot: everything is compiled anew"]
        else:
            lines = _renew_packages(before.packages, now.packages, places)
    # Last: what is broken off before is done again.
    write_atomic(file, json.encode(now))
    return lines


def contents(recipe: Recipe) -> list[str]:
    """A hash of each folder that is a package's source, by names, sizes and times of what lies there."""
    return [
        f"{package} {_content(Path(source.folder))}"
        for package, source in sorted(recipe.buildroot_sources.items())
        if source.folder
    ]


def _renew_packages(before: Mapping[str, Inputs], now: Mapping[str, Inputs], places: Places) -> list[str]:
    changed = [name for name, inputs in now.items() if name in before and inputs != before[name]]
    for name in changed:
        _forget(name, before[name], now[name], places.output)
    gone = [name for name in before if name not in now and not name.startswith("host-")]
    if gone or any(not name.startswith("host-") for name in changed):
        _empty_target(places.output)
    lines = []
    if changed:
        lines.append(f"compiled anew, as what it is made of changed: {', '.join(changed)}")
    if gone:
        lines.append(f"no longer in the image: {', '.join(gone)}")
    return lines


def _forget(name: str, before: Inputs, now: Inputs, output: Path) -> None:
    """Have Buildroot take the first step of a package again that has changed."""
    folder = output / now.build_dir
    if msgspec.structs.replace(before, content=now.content) == now:
        _take_stamps(folder, _COPY_AGAIN)
    elif name in _INCREMENTAL and msgspec.structs.replace(before, options=now.options) == now:
        _take_stamps(folder, _CONFIGURE_AGAIN)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(output / "per-package" / name, ignore_errors=True)


def _empty_target(output: Path) -> None:
    """Have all packages installed again; none is compiled for it."""
    stamps = [*output.glob("build/*/.stamp_target_installed")]
    # It installs the compiler's libraries there as well.
    stamps += output.glob("build/host-gcc-final-*/.stamp_host_installed")
    for stamp in stamps:
        stamp.unlink()
    shutil.rmtree(output / "target", ignore_errors=True)


def _take_stamps(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)


def _record(recipe: Recipe, configured: Configured, packages: Sequence[PackageInfo]) -> Record:
    config = read(configured.make.places.config.read_text())
    options = _by_package(config, [package.name for package in packages])
    named = _named(recipe.buildroot_variables, [package.name for package in packages])
    everything = [f"{symbol}={value}" for symbol, value in config.items() if symbol.startswith(_EVERYTHING)]
    held = dict(line.split(" ") for line in contents(recipe))
    made = {}
    for package in packages:
        # What is virtual has none.
        if not package.build_dir:
            continue
        name = package.name.removeprefix("host-")
        source = recipe.buildroot_sources.get(name)
        # A package for the build machine takes what is not set for itself from the device's.
        variables = [line for one in {package.name, name} for line in named.get(one, [])]
        files = sorted(_files(recipe, name, configured.make.externals))
        made[package.name] = Inputs(
            build_dir=package.build_dir,
            source=digest("\n".join([str(source), *variables, *files])),
            options=digest("\n".join(options.get(package.name, []))),
            content=held.get(name, ""),
        )
    return Record(digest("\n".join([configured.make.release.id, *everything])), made)


def _by_package(config: Mapping[str, str], names: Sequence[str]) -> dict[str, list[str]]:
    """Package → the lines of a final configuration that are its own. What is not set is left out."""
    found: dict[str, list[str]] = {}
    own = {make_name(name): name for name in names if name not in _SYMBOLS.values()}
    for symbol, value in config.items():
        if value == "n":
            continue
        owner = next((name for start, name in _SYMBOLS.items() if symbol.startswith(start)), "")
        if symbol.startswith("BR2_PACKAGE_"):
            owner = _owner(symbol.removeprefix("BR2_PACKAGE_"), own)
        found.setdefault(owner, []).append(f"{symbol}={value}")
    return found


def _named(variables: Mapping[str, str], names: Sequence[str]) -> dict[str, list[str]]:
    """Package → the variables of make that layers set for it."""
    found: dict[str, list[str]] = {}
    own = {make_name(name): name for name in names}
    for variable, value in variables.items():
        found.setdefault(_owner(variable, own), []).append(f"{variable}={value}")
    return found


def _owner(text: str, own: Mapping[str, str]) -> str:
    """The package with the longest name that ``text`` begins with, word by word: `UTIL_LINUX_LIBS`."""
    while text and text not in own:
        text = text.rpartition("_")[0]
    return own.get(text, "")


def _files(recipe: Recipe, package: str, externals: Iterable[Path]) -> Iterator[str]:
    """A line for each file of layers that is only this package's: patches, or the package itself."""
    folders = [
        folder / package for part in ("patches", "buildroot_patches") for folder in folders_of(recipe, part)
    ]
    if package in _PATCHES:
        folders += folders_of(recipe, _PATCHES[package])
    for tree in externals:
        folders += [file.parent for file in tree.rglob(f"{package}.mk")]
    for folder in folders:
        for path in folder.rglob("*"):
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
