"""`skiff lock`: the exact packages, written down."""

from __future__ import annotations

import click

from skiff import pipeline
from skiff.cli.common import print_json, resolve_recipe
from skiff.cli.options import Choice, examples, json_option, recipe_options, ui_option, workspace_option
from skiff.host.dirs import cache_dir
from skiff.host.lock import hold
from skiff.host.ui import Ui
from skiff.model.workspace import Workspace


@click.command(
    epilog=examples(
        "skiff lock                             write the workspace's lock.json",
        "skiff lock && skiff build --locked     two builds of it are the same to the byte",
    )
)
@recipe_options
@click.option("--mirror", metavar="URL", help="Debian mirror. [default: this host's own]")
@workspace_option
@json_option
@ui_option
def command(choice: Choice, workspace: Workspace, ui: Ui, as_json: bool, mirror: str | None) -> None:
    """Write down names, versions and checksums of all packages, as the archive has them now."""
    recipe = resolve_recipe(choice, workspace, ui)
    with hold(workspace):
        packages = pipeline.write_lock(
            recipe, workspace, cache_dir(), pipeline.Options(mirror, update=True), ui
        )
    if as_json:
        print_json(packages)
    else:
        total = sum(item.bytes for item in packages.fetched)
        click.echo(f"{workspace.lock}: {len(packages.fetched)} packages, {total / 1e6:.1f} MB")
