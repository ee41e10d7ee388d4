"""A kernel's part of a tree: the kernel itself, and the modules that a recipe names."""

from __future__ import annotations

import fnmatch
import lzma
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from skiff.host.errors import UserError
from skiff.host.files import keep_folder, write_atomic
from skiff.host.run import require, run
from skiff.model.tree import Entry, Kind, Tree

# Lists that depmod writes and the device's modprobe reads.
_LISTS = ("modules.dep", "modules.alias", "modules.softdep")


class Kernel(msgspec.Struct, frozen=True):
    """A kernel ready for an image: its file, and the modules by name."""

    version: str
    file: Path
    package: str
    # Plain .ko files by module name, of all that were selected.
    modules: dict[str, Path]
    # For `/init`: names in the order in which they are inserted.
    boot: tuple[str, ...]


class _Available:
    """All modules of a kernel: where they are and what they depend on."""

    def __init__(self, folder: Path, lists: Path) -> None:
        self.folder = folder
        self.version = folder.name
        self.lists = lists
        if not (self.lists / "modules.dep").exists():
            _depmod(self.folder, self.version, self.lists)
        self.path: dict[str, str] = {}
        self.needs: dict[str, list[str]] = {}
        for line in (self.lists / "modules.dep").read_text().splitlines():
            path, _, needs = line.partition(":")
            self.path[_name(path)] = path
            self.needs[_name(path)] = [_name(item) for item in needs.split()]
        self.builtin = {
            _name(line) for line in (self.folder / "modules.builtin").read_text().splitlines() if line
        }
        self.soft = self._soft_dependencies()

    def _soft_dependencies(self) -> dict[str, list[str]]:
        """Modules that a module wants beside it. It may name one by an alias, as `crypto-crc32c`."""
        by_alias: dict[str, list[str]] = {}
        for line in (self.lists / "modules.alias").read_text().splitlines():
            alias = line.split()
            if alias[:1] == ["alias"]:
                by_alias.setdefault(_name(alias[1]), []).append(_name(alias[2]))
        soft: dict[str, list[str]] = {}
        for line in (self.lists / "modules.softdep").read_text().splitlines():
            found = re.match(r"softdep (\S+) (.*)", line)
            names = [_name(word) for word in found[2].split() if not word.endswith(":")] if found else []
            for name in names:
                named = [name] if name in self.path else by_alias.get(name, [])
                soft.setdefault(_name(line.split()[1]), []).extend(named)
        return soft

    def select(self, wanted: Iterable[str]) -> list[str]:
        """Module names for the recipe's names and globs; a wrong name raises UserError."""
        names: dict[str, None] = {}
        for item in wanted:
            optional, item = item.startswith("?"), item.removeprefix("?")
            if "/" in item or "*" in item:
                pattern = f"kernel/{item}*" if "/" in item else f"*/{item}.ko*"
                found = [name for name, path in self.path.items() if fnmatch.fnmatch(path, pattern)]
                found = found or [name for name in self.builtin if fnmatch.fnmatch(name, item)]
            else:
                found = [_name(item)] if _name(item) in self.path or _name(item) in self.builtin else []
            if not found and not optional:
                raise UserError(
                    f"kernel {self.version} has no module {item}",
                    hint=f"`skiff show --why 'modules[{item}]'` names the layer; "
                    f'write "?{item}" there if it may be missing',
                )
            names.update(dict.fromkeys(name for name in found if name in self.path))
        return list(names)

    def ordered(self, names: Iterable[str]) -> list[str]:
        """The names with all they depend on, each after what it needs."""
        done: dict[str, None] = {}

        def visit(name: str) -> None:
            if name in done or name not in self.path:
                return
            for needed in (*self.needs[name], *self.soft.get(name, ())):
                if needed != name and needed not in visiting:
                    visiting.add(needed)
                    visit(needed)
            done[name] = None

        for name in names:
            visiting = {name}
            visit(name)
        return list(done)


def _name(path: str) -> str:
    return re.sub(r"\.ko(\.\w+)?$", "", path.rpartition("/")[2]).replace("-", "_")


def _depmod(folder: Path, version: str, out: Path) -> None:
    """Run depmod over a folder of modules and keep its lists in ``out``."""
    require("depmod")
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".depmod-", dir=out.parent))
    try:
        # depmod writes beside the modules: give it hard links, so that the cache stays as it is.
        linked = scratch / "lib/modules" / version
        shutil.copytree(folder, linked, copy_function=os.link)
        run(["depmod", "-b", scratch, version])
        made = scratch / "lists"
        made.mkdir()
        for name in _LISTS:
            (linked / name).rename(made / name)
        keep_folder(made, out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def select_kernel(
    file: Path, folder: Path, lists: Path, package: str, modules: Sequence[str], boot: Sequence[str]
) -> Kernel:
    """Pick a recipe's modules out of a kernel's, with their dependencies, unpacked.

    ``folder`` is its `lib/modules/VERSION`; ``lists`` keeps what depmod says of it.
    """
    available = _Available(folder, lists)
    boot_order = available.ordered(available.select(boot))
    chosen = available.ordered([*available.select(modules), *boot_order])
    return Kernel(
        version=available.version,
        file=file,
        package=package,
        modules={name: _plain(available, name) for name in chosen},
        boot=tuple(boot_order),
    )


def _plain(available: _Available, name: str) -> Path:
    """A module without its own compression: the image compresses better, and the device loads faster."""
    source = available.folder / available.path[name]
    if source.suffix == ".ko":
        return source
    plain = available.lists / "plain" / f"{name}.ko"
    if not plain.exists():
        write_atomic(plain, lzma.decompress(source.read_bytes()))
    return plain


def add_modules(tree: Tree, kernel: Kernel, cache: Path) -> None:
    """Put the chosen modules and their lists under /usr/lib/modules of a tree.

    Those that `/init` loads are not among them: they are in the initramfs, and in the kernel from then on.
    """
    base = f"usr/lib/modules/{kernel.version}"
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        folder = Path(scratch) / "all"
        (folder / "kernel").mkdir(parents=True)
        for name, file in kernel.modules.items():
            (folder / "kernel" / f"{name}.ko").hardlink_to(file)
            if name not in kernel.boot:
                tree.add(
                    f"{base}/kernel/{name}.ko",
                    Entry(Kind.FILE, 0o644, f"{kernel.package} (modules)", source=file),
                )
        lists = Path(scratch) / "lists"
        _depmod(folder, kernel.version, lists)
        for name in _LISTS:
            tree.add(
                f"{base}/{name}",
                Entry(Kind.FILE, 0o644, f"{kernel.package} (modules)", source=(lists / name).read_bytes()),
            )
