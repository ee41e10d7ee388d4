"""Buildroot beside the way to an image: configured, called for its own targets, its sources collected."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from skiff.builders.buildroot import build as source
from skiff.builders.buildroot import commands, skiffos
from skiff.builders.buildroot.external import Places
from skiff.builders.buildroot.sources import fetch
from skiff.host.errors import UserError
from skiff.host.ui import Ui
from skiff.model.recipe import Recipe
from skiff.model.workspace import Workspace


def configure(
    recipe: Recipe, workspace: Workspace, cache: Path, how: source.How, ui: Ui
) -> source.Configured:
    """A recipe as Buildroot's Kconfig sees it; settings without effect are told. Raises UserError."""
    with ui.step("configure Buildroot"):
        configured = source.configure(recipe, workspace.buildroot, cache, how)
    for line in configured.warnings:
        ui.warn(line)
    disputed = [] if recipe.skiffos else source.contested(configured)
    if disputed:
        ui.notice(f"set by several layers, the last one counts: {', '.join(disputed)} (skiff show --why)")
    return configured


def call_buildroot(
    recipe: Recipe, workspace: Workspace, cache: Path, how: source.How, targets: Sequence[str], ui: Ui
) -> None:
    """Buildroot's own targets, in the terminal. Raises CommandError when they fail."""
    configured = configure(recipe, workspace, cache, how, ui)
    for script in skiffos.scripts(recipe):
        ui.notice(f"may run {script}")
    commands.call(configured, targets, workspace.buildroot / "changed")


def save_menus(recipe: Recipe, workspace: Workspace, project: Path, layer: Path | None, ui: Ui) -> list[Path]:
    """Move what menus changed into a layer, or else the workspace's overrides. Returns the files written.

    Raises UserError when nothing was changed, or ``layer`` is no folder.
    """
    if layer and not layer.is_dir():
        raise UserError(
            f"{layer}: no such folder", hint="make it, or name a layer of yours: skiff br save DIR"
        )
    target = layer or project / "overrides/workspaces" / workspace.name
    written = commands.save(workspace.buildroot / "changed", target)
    if layer and layer.resolve() not in [one.path.resolve() for one in recipe.layers]:
        ui.warn(f"{layer} is no layer of workspace {workspace.name}: choose it, and it counts there")
    return written


def fetch_sources(recipe: Recipe, workspace: Workspace, cache: Path, how: source.How, ui: Ui) -> Path:
    """All sources of a recipe in one folder, which is returned. Raises UserError when one cannot be had."""
    configured = configure(recipe, workspace, cache, how, ui)
    packages = source.packages(configured)
    with ui.step("fetch sources", total=len(packages)) as step:
        return fetch(configured.make, packages, step.detail)


def package_commands(recipe: Recipe) -> list[tuple[str, str]]:
    """Commands of SkiffOS's packages, and what they do."""
    return commands.package_commands(recipe)


def run_package_command(recipe: Recipe, workspace: Workspace, wanted: str, ui: Ui) -> None:
    """Run such a command. Raises UserError when there is none, CommandError when it fails."""
    folder = workspace.buildroot
    places = Places(folder / "external", folder / "output", folder / "dl", folder / "ccache")
    commands.run_package_command(recipe, wanted, places, ui.notice)
