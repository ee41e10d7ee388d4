"""`skiff configure`: choose a workspace's layers and remember them."""

from __future__ import annotations

import click

from skiff.builders.buildroot import external as settings
from skiff.cli.common import print_json, resolve_config, settle, with_keys
from skiff.cli.options import Choice, examples, json_option, recipe_options, ui_option, workspace_option
from skiff.host.ui import Ui
from skiff.host.workspace import save_config
from skiff.model.workspace import Workspace


@click.command(
    epilog=examples(
        "skiff configure virt/qemu,engine/docker          for this machine's CPU",
        "skiff configure virt/qemu --arch arm64 -w arm    another workspace, another CPU",
        "skiff configure                                  show what is configured",
    )
)
@recipe_options
@workspace_option
@ui_option
@json_option
def command(choice: Choice, workspace: Workspace, ui: Ui, as_json: bool) -> None:
    """Choose a workspace's layers and remember them.

    LAYERS are names, or paths of folders; commas or spaces between them. Without LAYERS those of
    SKIFF_CONFIG are taken, else the layers stay as they are.
    """
    config = settle(choice, workspace)
    # Resolved before it is saved: what does not fit together is not remembered.
    recipe = with_keys(resolve_config(config, workspace), config, workspace, ui, make_key=False)
    save_config(workspace, config)
    if as_json:
        print_json({"workspace": workspace.root, "config": config, "recipe_layers": recipe.names})
        return
    click.echo(f"workspace  {workspace.root}")
    click.echo(f"layers     {', '.join(recipe.names)}")
    # SkiffOS's packages are for no CPU of ours: one of their lines chooses Buildroot's.
    cpu = settings.cpu(recipe) if recipe.skiffos else recipe.arch.value
    click.echo(f"cpu        {cpu or 'left to Kconfig'}")
