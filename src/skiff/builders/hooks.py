"""A layer's `hooks/generate`: a program on the host whose output becomes files of the layer."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from skiff.builders.lay import scan
from skiff.host.errors import UserError
from skiff.host.run import CommandError, run
from skiff.model.recipe import Recipe
from skiff.model.tree import Entry


def generated(recipe: Recipe, scratch: Path, notice: Callable[[str], None]) -> list[tuple[str, Entry]]:
    """Run every layer's `hooks/generate` in an empty folder; what it leaves there is laid over the tree.

    It finds the CPU in SKIFF_ARCH and its layer's folder in SKIFF_LAYER.
    Raises UserError when it is not executable or fails.
    """
    entries: list[tuple[str, Entry]] = []
    for number, layer in enumerate(recipe.layers):
        hook = layer.hooks / "generate"
        if not hook.exists():
            continue
        if not os.access(hook, os.X_OK):
            raise UserError(f"{hook}: not executable", hint=f"chmod +x {hook}")
        notice(f"running {hook}")
        out = scratch / str(number)
        out.mkdir(parents=True)
        try:
            run(
                [hook.resolve()],
                cwd=out,
                env={"SKIFF_ARCH": recipe.arch.value, "SKIFF_LAYER": str(layer.path)},
            )
        except CommandError as error:
            raise UserError(
                f"layer {layer.name}: its hook failed\n{error.message}",
                hint="mend it, or take it out of the layer",
            ) from error
        except OSError as error:
            raise UserError(
                f"{hook}: cannot be started: {error.strerror}",
                hint="its first line has to name a program that is here: #!/bin/sh",
            ) from error
        try:
            entries += scan(out, f"layer {layer.name}")
        except UserError as error:
            raise UserError(
                f"layer {layer.name}: its hook left {error.message}",
                hint="let it make nothing but files, folders and links in its current folder",
            ) from error
    return entries
