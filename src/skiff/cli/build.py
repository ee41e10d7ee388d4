"""`skiff build`: recipe → image."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import Any

import click

from skiff import pipeline
from skiff.builders.buildroot.build import How
from skiff.cli.common import print_json, resolve_recipe
from skiff.cli.options import (
    Choice,
    Verb,
    examples,
    json_option,
    recipe_options,
    ui_option,
    with_options,
    workspace_option,
)
from skiff.host.dirs import cache_dir
from skiff.host.files import at_home
from skiff.host.lock import hold
from skiff.host.ui import Ui
from skiff.model.image import Image
from skiff.model.recipe import Recipe
from skiff.model.workspace import Workspace

_FOLDER = click.Path(file_okay=False, path_type=Path)

SOURCE_OPTIONS = (
    click.option(
        "--buildroot",
        type=_FOLDER,
        envvar="BUILDROOT",
        metavar="DIR",
        help="Buildroot's source, for --builder buildroot. [default: BUILDROOT, else fetched once]",
    ),
    click.option(
        "--strict",
        is_flag=True,
        help="Fail when a setting for Buildroot, or for a kernel from source, has no effect.",
    ),
    click.option(
        "--offline",
        is_flag=True,
        help="With --builder buildroot: compile from sources that are there, and fetch none.",
    ),
    click.option(
        "--downloads",
        type=_FOLDER,
        envvar="BR2_DL_DIR",
        metavar="DIR",
        help="Buildroot's folder of sources. [default: BR2_DL_DIR, else one in the cache]",
    ),
)


def _absolute(path: Path | None) -> Path | None:
    return at_home(path).absolute() if path else None


def build_options(verb: Verb) -> Verb:
    """How to build, as ``how: pipeline.Options``."""

    @functools.wraps(verb)
    def wrapper(
        *args: Any,
        mirror: str | None,
        locked: bool,
        update: bool,
        buildroot: Path | None,
        strict: bool,
        offline: bool,
        downloads: Path | None,
        **kwargs: Any,
    ) -> Any:
        source = How(_absolute(buildroot), strict, offline, _absolute(downloads))
        return verb(*args, how=pipeline.Options(mirror, locked, update, source), **kwargs)

    return with_options(
        wrapper,
        click.option("--mirror", metavar="URL", help="Debian mirror. [default: this host's own]"),
        click.option("--locked", is_flag=True, help="Use exactly the packages that `skiff lock` wrote down."),
        click.option("--update", is_flag=True, help="Fetch the package lists even if today's are there."),
        *SOURCE_OPTIONS,
    )


def build_image(
    recipe: Recipe, workspace: Workspace, ui: Ui, options: pipeline.Options
) -> tuple[Image, bool]:
    """The image, and whether it had to be built; one build at a time in a workspace."""
    with hold(workspace):
        return pipeline.build(recipe, workspace, cache_dir(), options, ui)


@click.command(
    epilog=examples(
        "skiff build virt/qemu,engine/docker   the image for a virtual machine with Docker",
        "skiff build                           the same layers again",
        "skiff build --locked --json           the packages of the lock; artefacts as JSON",
    )
)
@recipe_options
@build_options
@workspace_option
@json_option
@ui_option
def command(choice: Choice, how: pipeline.Options, workspace: Workspace, ui: Ui, as_json: bool) -> None:
    """Build the image: kernel and initramfs, in the workspace's `image/`."""
    started = time.monotonic()
    recipe = resolve_recipe(choice, workspace, ui)
    image, fresh = build_image(recipe, workspace, ui, how)
    if as_json:
        print_json(image)
        return
    total = sum(item.bytes for item in image.artefacts)
    for item in image.artefacts:
        click.echo(f"{item.bytes / 1e6:8.2f} MB  {item.path}")
    took = f"built in {time.monotonic() - started:.1f} s" if fresh else "nothing changed"
    click.echo(f"{total / 1e6:8.2f} MB  in all, {took}")
