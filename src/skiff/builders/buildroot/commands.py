"""What is run for the user in Buildroot's output: its own targets, and commands of SkiffOS's packages."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path

from skiff.builders.buildroot import saved, skiffos
from skiff.builders.buildroot.build import Configured
from skiff.builders.buildroot.external import Places
from skiff.builders.buildroot.fragments import Kind, line, read
from skiff.host.errors import UserError
from skiff.host.files import write_atomic
from skiff.host.run import CommandError, spawn
from skiff.model.recipe import Recipe

Say = Callable[[str], None]


def call(configured: Configured, targets: Sequence[str], folder: Path) -> None:
    """Make targets with the terminal as it is. What a menu changed is kept in ``folder``.

    Raises CommandError when make fails.
    """
    make = configured.make
    before = saved.snapshot(make)
    argv = [*make.words, "--no-print-directory", *targets]
    status = spawn(argv, env=make.environment).wait()
    # A configuration that was made just now is no change of the user's.
    if any(target.endswith("config") for target in targets):
        for kind, text in saved.changes(before, saved.snapshot(make)).items():
            if kind in before:
                file = folder / f"{kind.value}.config"
                old = read(file.read_text()) if file.exists() else {}
                values = {**old, **read(text)}
                lines = "".join(line(*item) for item in values.items())
                write_atomic(file, lines.encode())
    if status:
        raise CommandError(argv, status, "")


def save(folder: Path, layer: Path) -> list[Path]:
    """Move what menus changed into a layer. Returns the files written. Raises UserError when nothing was."""
    files = {kind: folder / f"{kind.value}.config" for kind in Kind}
    texts = {kind: file.read_text() for kind, file in files.items() if file.exists()}
    if not texts:
        raise UserError("no menu has changed anything", hint="`skiff br -- menuconfig` opens Buildroot's")
    written = saved.save(texts, layer)
    for kind in texts:
        files[kind].unlink()
    return written


def package_commands(recipe: Recipe) -> list[tuple[str, str]]:
    """`category/name/command` and what it does, of all packages of a recipe."""
    found = []
    for layer in recipe.layers:
        file = layer.path / "metadata/commands"
        if not layer.skiffos or not file.is_file() or not (layer.path / "extensions").is_dir():
            continue
        for text in file.read_text().splitlines():
            word, _, what = text.strip().partition(" ")
            if word and what.strip():
                found.append((f"{layer.name}/{word}", what.strip()))
    return found


def run_package_command(recipe: Recipe, wanted: str, places: Places, notice: Say) -> None:
    """Run one. Raises UserError when there is none of that name, CommandError when it fails."""
    package, _, target = wanted.rpartition("/")
    # In a checkout every package can be asked, whether it is chosen or not.
    folders = dict(recipe.skiffos.packages) if recipe.skiffos else {}
    folders.update((layer.name, layer.path) for layer in recipe.layers if layer.skiffos)
    folder = folders.get(package)
    if folder is None or not (folder / "extensions/Makefile").is_file():
        known = [name for name, _ in package_commands(recipe)]
        near = difflib.get_close_matches(wanted, known, n=1)
        raise UserError(
            f"no package of this workspace has a command {wanted}",
            hint=f"did you mean {near[0]}?" if near else "`skiff cmd` lists those there are",
        )
    word = package.upper().replace("/", "_")
    environment = {
        **skiffos.environment(recipe, places.output, places.external),
        "SKIFF_CURRENT_CONF_DIR": str(folder),
        "SKIFF_CURRENT_CONF_NAME": package,
        "SKIFF_CURRENT_CONF_NAME_FULL": f"SKIFF_CONFIG_PATH_{word}",
    }
    extensions = folder / "extensions"
    notice(f"running make {target} in {extensions}")
    argv = ["make", "--no-print-directory", "-C", str(extensions), target]
    status = spawn(argv, env=environment).wait()
    if status:
        raise CommandError(argv, status, "")
