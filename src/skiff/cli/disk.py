"""`skiff disk`: the image as a disk image that boots by itself."""

from __future__ import annotations

import time

import click
import msgspec

from skiff import pipeline
from skiff.cli.build import build_options
from skiff.cli.common import print_json, resolve_recipe
from skiff.cli.options import Choice, examples, json_option, recipe_options, ui_option, workspace_option
from skiff.host.dirs import cache_dir
from skiff.host.lock import hold
from skiff.host.ui import Ui
from skiff.image.disk import check_loader
from skiff.model.disk import DiskImage
from skiff.model.recipe import Recipe
from skiff.model.workspace import Workspace


def disk_image(
    recipe: Recipe, workspace: Workspace, ui: Ui, options: pipeline.Options
) -> tuple[DiskImage, bool]:
    """Image, then disk image, and whether that had to be made; one build at a time in a workspace."""
    check_loader(recipe.arch, recipe.loader, recipe.names)
    with hold(workspace):
        image, _ = pipeline.build(recipe, workspace, cache_dir(), options, ui)
        return pipeline.disk(recipe, image, workspace, cache_dir(), options, ui)


@click.command(
    epilog=examples(
        "skiff disk pc/uefi                    a disk image for a PC",
        "skiff disk pc/uefi,engine/docker      the same with Docker",
        "skiff disk --json                     the layers of last time; files as JSON",
    )
)
@recipe_options
@build_options
@workspace_option
@json_option
@ui_option
def command(choice: Choice, how: pipeline.Options, workspace: Workspace, ui: Ui, as_json: bool) -> None:
    """Build the image, and make a disk image of it, in the workspace's `disk/`.

    It holds a partition table, a boot partition with bootloader, kernel and initramfs, and room for a second
    version of these. It is compressed with zstd; beside it are its checksum and a block map, with which
    `skiff flash` (or `bmaptool copy`) writes it to a card without the empty blocks. The device makes its
    persist partition in the room behind it, on its first boot.
    """
    started = time.monotonic()
    recipe = resolve_recipe(choice, workspace, ui)
    made, fresh = disk_image(recipe, workspace, ui, how)
    if as_json:
        print_json({**msgspec.structs.asdict(made), "new": fresh})
        return
    for file in made.files:
        click.echo(f"{file.bytes / 1e6:8.2f} MB  {file.path}")
    took = f"made in {time.monotonic() - started:.1f} s" if fresh else "nothing changed"
    click.echo(f"{made.mapped / 1e6:8.2f} MB  to write, of a disk of {made.bytes / 1e6:.0f} MB; {took}")
