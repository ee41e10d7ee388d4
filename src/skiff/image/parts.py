"""Which squashfs each path of a tree goes into, and how that one is compressed."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import msgspec

from skiff.image.squashfs import Compression
from skiff.model.arch import Arch
from skiff.model.recipe import Recipe
from skiff.model.tree import Entry, Kind, Tree

# Unpacked bytes from which on a layer's own packages get a part of their own.
OWN_PART = 8 << 20
# Larger parts are packed without the branch filter: with it, a first build with Docker would take far longer.
FILTERED = 100 << 20
# The kernel's branch filters that mksquashfs knows. They save a tenth on libraries, less on programs in Go,
# and double the time.
_FILTER = {Arch.AMD64: "x86", Arch.ARMHF: "armthumb"}
# The largest blocks that squashfs knows: smallest image. Machines short of memory do not read these programs
# from here again and again, but unpack them once (layers/base/rootfs/usr/lib/skiff/engine.sh).
PLAIN = Compression("xz", "1M")
# For slow CPUs. Level 19 saves another hundredth and takes more than twice as long to pack.
_LEVEL = 15
# For what is small: the last part, and the initramfs' own archive.
_SMALL_LEVEL = 19
# In names of layers; those of parts stand in tables of mounts, options of overlayfs and lists of checksums.
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


def programs(recipe: Recipe, weight: int) -> Compression:
    """How a part with packages of that many unpacked bytes is compressed."""
    arch = recipe.arch
    if recipe.compressor.startswith("zstd"):
        return _zstd("256K", _level(recipe, _LEVEL))
    if weight > FILTERED or arch not in _FILTER:
        return PLAIN
    return Compression(PLAIN.compressor, PLAIN.block, ("-Xbcj", _FILTER[arch]))


def small_level(recipe: Recipe) -> int:
    """Level of zstd for what is small, such as the initramfs' own archive."""
    return _level(recipe, _SMALL_LEVEL)


def _level(recipe: Recipe, otherwise: int) -> int:
    return int(recipe.compressor.partition(":")[2] or otherwise)


def _zstd(block: str, level: int) -> Compression:
    return Compression("zstd", block, ("-Xcompression-level", str(level)))


class Part(msgspec.Struct, frozen=True):
    """One squashfs of the image."""

    name: str
    entries: dict[str, Entry]
    compression: Compression
    # Whether SSH needs it: then it is verified before the system starts, else before its service does.
    first: bool


def split(tree: Tree, recipe: Recipe, early: frozenset[str]) -> list[Part]:
    """Split a tree into parts, lowest first. ``early`` paths are in none: they lie unpacked beside them.

    Packages that a layer names itself, when they are large, make a part: it is compressed once and
    shared by all recipes. What layers and the builder write comes last: it changes most.
    """
    owners = {
        key.removeprefix("packages[").removesuffix("]"): layer
        for key, layer in recipe.origins.items()
        if key.startswith("packages[")
    }
    weight: dict[str, int] = {}
    for _, entry in tree.files():
        owner = owners.get(entry.origin, "")
        weight[owner] = weight.get(owner, 0) + entry.size
    own = {name for name, size in weight.items() if name not in ("", "base") and size >= OWN_PART}
    system: dict[str, Entry] = {}
    owned: dict[str, dict[str, Entry]] = {name: {} for name in sorted(own)}
    files: dict[str, Entry] = {}
    for path in tree:
        if path in early:
            continue
        entry = tree[path]
        owner = owners.get(entry.origin, "")
        if owner in own:
            owned[owner][path] = entry
        elif entry.origin == "skiff" or entry.origin.startswith("layer "):
            files[path] = entry
        else:
            system[path] = entry
    groups = [
        ("system", system, programs(recipe, 0), True),
        *((name, owned[name], programs(recipe, weight[name]), False) for name in owned),
        ("files", files, _zstd("128K", small_level(recipe)), True),
    ]
    return [
        Part(f"{number}-{_UNSAFE.sub('-', name)}", {**_folders(tree, entries), **entries}, compression, first)
        for number, (name, entries, compression, first) in enumerate(groups)
    ]


def _folders(tree: Tree, entries: dict[str, Entry]) -> dict[str, Entry]:
    """The tree's own folders above these paths: of one that is in two parts the upper one's mode counts."""
    above = {str(parent) for path in entries for parent in PurePosixPath(path).parents}
    return {path: tree[path] for path in sorted(above) if path in tree and tree[path].kind is Kind.DIR}
