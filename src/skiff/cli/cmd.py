"""`skiff cmd`: commands that config packages of SkiffOS bring."""

from __future__ import annotations

import click

from skiff import pipeline_buildroot
from skiff.cli.common import resolve_recipe
from skiff.cli.options import Choice, examples, ui_option, workspace_option
from skiff.host.ui import Ui
from skiff.model.workspace import Workspace


@click.command(
    epilog=examples(
        "skiff cmd                       what the workspace's packages bring",
        "skiff cmd odroid/xu/install     run one: `make install` in its extensions/",
        "skiff cmd odroid/xu install     the same",
    )
)
@click.argument("words", nargs=-1, metavar="[PACKAGE/COMMAND]")
@workspace_option
@ui_option
def command(words: tuple[str, ...], workspace: Workspace, ui: Ui) -> None:
    """Run a command of a SkiffOS config package, or list those there are.

    What it runs is told before. It finds its folder, the workspace and Buildroot's output in its environment,
    as in SkiffOS.
    """
    recipe = resolve_recipe(Choice(), workspace, Ui(quiet=True), remember=False, make_key=False)
    if not words:
        commands = pipeline_buildroot.package_commands(recipe)
        for name, what in commands:
            click.echo(f"{name:32} {what}")
        if not commands:
            ui.notice("no package of SkiffOS in this workspace brings a command")
        return
    pipeline_buildroot.run_package_command(recipe, workspace, "/".join(words), ui)
