"""`skiff br`: Buildroot's own targets for a workspace, its menus' changes, its sources."""

from __future__ import annotations

from pathlib import Path

import click

from skiff import pipeline, pipeline_buildroot
from skiff.cli.build import build_options
from skiff.cli.common import resolve_recipe
from skiff.cli.options import Choice, examples, ui_option, workspace_option
from skiff.host.dirs import cache_dir
from skiff.host.lock import hold
from skiff.host.ui import Ui
from skiff.model.workspace import Workspace


@click.command(
    epilog=examples(
        "skiff br -- menuconfig             Buildroot's menu; linux-menuconfig, busybox-menuconfig …",
        "skiff br save                      keep what a menu changed, in overrides/workspaces/NAME",
        "skiff br save layers/my/board      the same, in a layer of yours",
        "skiff br fetch --downloads DIR     collect all sources, for `skiff build --offline`",
        "skiff br -- graph-size legal-info  any other target of Buildroot",
    )
)
@click.argument("words", nargs=-1, required=True, metavar="save [DIR] | fetch | -- TARGET…")
@build_options
@workspace_option
@ui_option
def command(words: tuple[str, ...], how: pipeline.Options, workspace: Workspace, ui: Ui) -> None:
    """Call Buildroot for the workspace's layers, which are configured first where that is needed.

    Words after -- are targets of its make. A menu's changes count for this workspace at once; `save` writes
    them into a layer, where they stay.
    """
    # What the next `skiff build` takes is not changed by a look at a menu.
    # Nor do keys matter, which are laid over what Buildroot makes.
    recipe = resolve_recipe(Choice(builder="buildroot"), workspace, Ui(quiet=True), remember=False)
    with hold(workspace):
        if words[0] == "save":
            folder = Path(words[1]).absolute() if len(words) > 1 else None
            for file in pipeline_buildroot.save_menus(recipe, workspace, Path.cwd(), folder, ui):
                click.echo(file)
        elif words[0] == "fetch":
            folder = pipeline_buildroot.fetch_sources(recipe, workspace, cache_dir(), how.source, ui)
            click.echo(folder)
        else:
            pipeline_buildroot.call_buildroot(recipe, workspace, cache_dir(), how.source, words, ui)
