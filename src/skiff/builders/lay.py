"""What every builder lays over what its packages brought: layers' files and services, links, settings."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec

import skiff
from skiff.builders.elf import Linker
from skiff.builders.trim import Globs
from skiff.host.errors import UserError
from skiff.model.recipe import LayerRef, Recipe
from skiff.model.tree import Entry, Kind, Tree

ORIGIN = "skiff"


def file(text: str | bytes, mode: int = 0o644, *, gid: int = 0) -> Entry:
    """An entry that the builder itself writes."""
    data = text.encode() if isinstance(text, str) else text
    return Entry(Kind.FILE, mode, ORIGIN, gid=gid, source=data)


def add_settings(tree: Tree, recipe: Recipe, epoch: int) -> None:
    """Small files that tell the device what its recipe says."""
    tree.add("etc/hostname", file(f"{recipe.hostname}\n"))
    tree.add("etc/hosts", file(f"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {recipe.hostname}\n"))
    if "etc/nsswitch.conf" not in tree:
        tree.add("etc/nsswitch.conf", file("passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"))
    tree.add("etc/skiff/version", file(f"{skiff.__version__}\n"))
    tree.add("etc/skiff/arch", file(f"{recipe.arch.value}\n"))
    tree.add("etc/skiff/board", file(f"{recipe.board}\n"))
    tree.add("etc/skiff/epoch", file(f"{epoch}\n"))
    tree.add("etc/skiff/layers", file("".join(f"{name}\n" for name in recipe.names)))
    tree.add("etc/skiff/engine", file(f"{recipe.engine}\n"))
    tree.add("etc/skiff/modules", file("".join(f"{name}\n" for name in recipe.load_modules)))
    if recipe.authorized_keys:
        keys = "".join(f"{key}\n" for key in recipe.authorized_keys)
        tree.add("etc/skiff/authorized_keys/build.pub", file(keys))


def add_layer(tree: Tree, layer: LayerRef) -> None:
    """Lay a layer's `rootfs/` over the tree, and its `services/` under /etc/service."""
    lay(tree, scan(layer.rootfs, f"layer {layer.name}"))
    if layer.services.is_dir():
        for service in sorted(layer.services.iterdir()):
            # A later layer's service of the same name replaces the earlier one whole.
            tree.remove(f"etc/service/{service.name}")
            for path, entry in scan(service, f"layer {layer.name}"):
                _check_starts(service / path, entry)
                tree.add(f"etc/service/{service.name}/{path}", entry)


def lay(tree: Tree, entries: Iterable[tuple[str, Entry]]) -> None:
    """Put files of a layer into the tree. A folder that is there keeps its owner and mode.

    Links into /run stay, too. Raises UserError for what would lie there.
    """
    for path, entry in entries:
        there = tree.entries.get(tree.canonical(path))
        if entry.kind is Kind.DIR and there is not None:
            if there.kind is Kind.LINK and there.target.startswith("/run/"):
                continue
            if there.kind is Kind.DIR:
                entry = msgspec.structs.replace(there, origin=entry.origin)
        if tree.canonical(path).startswith("run/"):
            raise UserError(
                f"{entry.origin}: /{path} would lie in /run, which is empty whenever the device starts",
                hint="let the service that needs it make it",
            )
        tree.add(path, entry)


def _check_starts(file: Path, entry: Entry) -> None:
    """Raise UserError for a program of a service that the supervisor could not start, again and again."""
    if file.name in ("run", "finish") and entry.kind is Kind.FILE and not entry.mode & 0o100:
        raise UserError(f"{file}: not executable", hint=f"chmod +x {file}")


def scan(folder: Path, origin: str, without: Collection[Path] = ()) -> Iterable[tuple[str, Entry]]:
    """Entries for a folder of the host. Files are owned by root; only the execute bit is taken over.

    ``without``: folders in it that do not count. Raises UserError for what cannot be an entry.
    """
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if Path(parent, name) not in without)
        for name in sorted([*folders, *names]):
            path = Path(parent) / name
            info = path.lstat()
            relative = path.relative_to(folder).as_posix()
            if not relative.isprintable():
                raise UserError(
                    f"{relative!r} in {folder}: a name that cannot be printed", hint="give it another name"
                )
            if stat.S_ISLNK(info.st_mode):
                target = str(path.readlink())
                if not target.isprintable():
                    raise UserError(
                        f"{path}: a link to {target!r}, which cannot be printed",
                        hint="let it lead elsewhere",
                    )
                yield relative, Entry(Kind.LINK, 0o777, origin, target=target)
                continue
            # What os.walk may not read it leaves out without a word.
            if not os.access(path, os.R_OK | (os.X_OK if name in folders else 0)):
                raise UserError(
                    f"{path}: no permission to read it", hint="make it readable, or take it out of the layer"
                )
            if stat.S_ISDIR(info.st_mode):
                yield relative, Entry(Kind.DIR, 0o755, origin)
            elif stat.S_ISREG(info.st_mode):
                yield (
                    relative,
                    Entry(Kind.FILE, 0o755 if info.st_mode & 0o100 else 0o644, origin, source=path),
                )
            else:
                raise UserError(f"{path}: neither file, folder nor link", hint="remove it from the layer")


def add_extras(tree: Tree, recipe: Recipe) -> None:
    """Folders, links and applets that layers list."""
    links = recipe.links
    if recipe.builder == "buildroot":
        links = {**links, **recipe.buildroot_links}
    for path, mode in recipe.dirs.items():
        tree.add(path.strip("/"), Entry(Kind.DIR, int(mode, 8), ORIGIN))
    for path, target in links.items():
        if not _has_later(tree, path, recipe):
            tree.add(path.strip("/"), Entry(Kind.LINK, 0o777, ORIGIN, target=target))
    for path in recipe.applets:
        if tree.resolve(path.strip("/")) is None:
            tree.add(path.strip("/"), Entry(Kind.LINK, 0o777, ORIGIN, target="/usr/bin/busybox"))


def _has_later(tree: Tree, path: str, recipe: Recipe) -> bool:
    """Whether what stands in a link's place is of a later layer than the link."""
    there = tree.entries.get(tree.canonical(path))
    field = "buildroot_links" if recipe.builder == "buildroot" and path in recipe.buildroot_links else "links"
    layer = recipe.origins.get(f"{field}[{path}]")
    if there is None or layer not in recipe.names:
        return False
    return there.origin in [f"layer {name}" for name in recipe.names[recipe.names.index(layer) + 1 :]]


def early_files(tree: Tree, recipe: Recipe, linker: Linker) -> frozenset[str]:
    """Paths that boot reads before SSH answers, with the libraries they load."""
    globs = Globs(recipe.early)
    return frozenset(linker.closure({path for path, _ in tree.files() if globs.match(path)}))
