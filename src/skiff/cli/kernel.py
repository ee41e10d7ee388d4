"""`skiff kernel`: the configuration of a kernel that is compiled from source."""

from __future__ import annotations

import click

from skiff import pipeline_linux
from skiff.cli.common import resolve_recipe
from skiff.cli.options import Choice, examples, recipe_options, ui_option, workspace_option
from skiff.host.dirs import cache_dir
from skiff.host.lock import hold
from skiff.host.ui import Ui
from skiff.model.workspace import Workspace


@click.command(
    epilog=examples(
        "skiff kernel config virt/qemu,util/slim  the whole configuration that these layers add up to",
        "skiff kernel menuconfig                  change it in the kernel's own menu",
        "skiff kernel diff                        what the menu changed, as lines for a layer's kernel/",
    )
)
@click.argument("what", type=click.Choice(["config", "diff", "menuconfig"]))
@recipe_options
@click.option("--mirror", metavar="URL", help="Debian mirror. [default: this host's own]")
@workspace_option
@ui_option
def command(what: str, choice: Choice, mirror: str | None, workspace: Workspace, ui: Ui) -> None:
    """Show or change the configuration of a kernel that is compiled from source.

    Nothing is compiled. What the menu changes counts when it stands in a layer: `diff` prints the lines.
    """
    recipe = resolve_recipe(choice, workspace, ui)
    cache = cache_dir()
    with hold(workspace):
        if what == "config":
            package = pipeline_linux.linux_package(recipe, cache, mirror, ui)
            config = pipeline_linux.configured_kernel(recipe, package, workspace, cache, mirror, ui)
            click.echo(config.read_text(), nl=False)
            return
        if what == "menuconfig":
            package = pipeline_linux.linux_package(recipe, cache, mirror, ui)
            pipeline_linux.open_menu(recipe, package, workspace, cache, mirror, ui)
        click.echo(pipeline_linux.menu_changes(workspace), nl=False)
