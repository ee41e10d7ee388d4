"""Python modules as bytecode: what the device would make of them anew after each boot, and keep in RAM."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from skiff.builders import bytecode_compiler
from skiff.builders.trim import Globs
from skiff.host.errors import UserError
from skiff.host.run import run
from skiff.model.recipe import Recipe
from skiff.model.tree import Tree

# An interpreter of the image's version that runs on this machine: the words that start it, while it is there.
Python = Callable[[], AbstractContextManager[tuple[str | Path, ...]]]


def compile_modules(tree: Tree, recipe: Recipe, python: Python) -> None:
    """Put in the place of the modules that `tree.bytecode` names what Python makes of them.

    A `.pyc` is loaded like a module when no `.py` lies beside it, and one that an overlay lays there comes
    first. Raises UserError for a module that is not valid.
    """
    globs = Globs(recipe.bytecode)
    modules = [path for path, _ in tree.files() if path.endswith(".py") and globs.match(path)]
    if not modules:
        return
    with tempfile.TemporaryDirectory(prefix="skiff-python-") as scratch, python() as words:
        made = [Path(scratch) / str(number) for number in range(len(modules))]
        lines = []
        for path, target in zip(modules, made, strict=True):
            source = tree[path].source
            if isinstance(source, bytes):
                target.with_suffix(".py").write_bytes(source)
                source = target.with_suffix(".py")
            lines.append(f"{source}\0/{path}\0{target}\n")
        # Nothing of the user's environment, no folder of modules but its own.
        compiler = [*words, "-I", "-S", "-B", bytecode_compiler.__file__]
        done = run(compiler, input="".join(lines).encode(), check=False)
        if done.returncode != 0:
            raise _not_compiled(done.stderr.decode(errors="replace"), tree)
        for path, target in zip(modules, made, strict=True):
            entry = tree.entries.pop(path)
            tree.entries[f"{path}c"] = msgspec.structs.replace(entry, source=target.read_bytes())


def _not_compiled(said: str, tree: Tree) -> UserError:
    path, _, why = said.partition("\0")
    if not why:
        return UserError(f"Python's modules could not be compiled: {said.strip()}")
    return UserError(
        f"tree.bytecode: {path} ({tree[path.strip('/')].origin}): {why.strip()}",
        hint="put it right, drop it (`trim.drop`), or name other modules",
    )
