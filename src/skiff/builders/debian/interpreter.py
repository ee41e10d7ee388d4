"""Python of the image's version that runs on this machine: the image's own, or the same for this CPU."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from skiff.builders.debian import skeleton
from skiff.builders.debian.archive import Archive, Resolver
from skiff.builders.debian.unpack import Unpacked
from skiff.builders.elf import Linker
from skiff.host.errors import UserError
from skiff.model.arch import Arch
from skiff.model.packages import Package, PackageSet
from skiff.model.recipe import Recipe
from skiff.model.tree import Tree

_PACKAGE = re.compile(r"python3\.\d+-minimal")
_PROGRAM = re.compile(r"usr/bin/(python3\.\d+)")


def find_interpreter(
    recipe: Recipe,
    packages: PackageSet,
    cache: Path,
    mirror: str | None,
    warn: Callable[[str], None],
    *,
    update: bool = False,
) -> tuple[Package, ...]:
    """The packages of an interpreter for this machine; none when the image's own runs, or nothing needs one.

    Those that ``packages`` has already, as a lock does, when they are for this CPU.
    """
    names = [item.name for item in packages.packages if _PACKAGE.fullmatch(item.name)]
    if not recipe.bytecode or not names or recipe.arch is Arch.host():
        return ()
    if any(item.arch == Arch.host().debian for item in packages.tools):
        return packages.tools
    archive = Archive(Arch.host(), cache, mirror)
    return Resolver(archive, cache).packages(names, [], update=update, warn=warn).packages


@contextmanager
def interpreter(packages: Sequence[Unpacked], cache: Path) -> Iterator[tuple[str | Path, ...]]:
    """The words that start the Python of these packages, which are for this machine's CPU.

    It is laid into the cache with the libraries it loads: other folders for temporary files may not let
    programs run. Raises UserError when the packages have none.
    """
    tree = Tree()
    skeleton.add_skeleton(tree, Arch.host())
    for item in packages:
        for path, entry in item.items():
            if path.startswith(("usr/lib", "lib")) or _PROGRAM.fullmatch(path):
                tree.add(path, entry)
    program = next((path for path in tree if _PROGRAM.fullmatch(path)), None)
    if program is None:
        raise UserError(
            "tree.bytecode: the image has no Python to compile for",
            hint="add python3.13-minimal to `debian.packages`",
        )
    linker = Linker(tree, Arch.host())
    # By the names that programs have for them.
    libraries = [need for path in linker.closure({program}) for need in linker.wanted(path)]
    facts = linker.facts(tree[program])
    assert facts is not None
    name = Path(program).name
    modules = f"usr/lib/{name}/"
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".python-", dir=cache) as scratch:
        folder = Path(scratch)
        # It finds its modules from where it lies itself.
        _lay(tree, program, folder / "bin" / name)
        for path, _ in tree.files():
            if path.startswith(modules):
                _lay(tree, path, folder / "lib" / name / path.removeprefix(modules))
        for library, found in libraries:
            if found is not None:
                _lay(tree, found, folder / "lib" / Path(library).name)
        loader = folder / "lib" / Path(facts.interpreter).name
        loader.chmod(0o755)
        yield (loader, "--library-path", folder / "lib", folder / "bin" / name)


def _lay(tree: Tree, path: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(tree[path].read())
