"""`skiff size`: what the image's bytes are spent on."""

from __future__ import annotations

from pathlib import Path

import click

from skiff.cli.common import print_json
from skiff.cli.options import examples, json_option, workspace_option
from skiff.host.errors import UserError
from skiff.image.report import by_origin, kernel_modules, require_image
from skiff.image.treemap import treemap_svg
from skiff.model.workspace import Workspace


@click.command(
    epilog=examples(
        "skiff size                      a table, largest first",
        "skiff size --svg size.svg       a picture: one field for each file",
        "skiff size --files              every file",
        "skiff size --modules            every kernel module",
    )
)
@workspace_option
@click.option("--files", is_flag=True, help="List single files instead of packages and layers.")
@click.option("--modules", is_flag=True, help="List kernel modules instead of packages and layers.")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Write a treemap to this file.")
@json_option
def command(workspace: Workspace, as_json: bool, files: bool, modules: bool, svg: Path | None) -> None:
    """Show what the image's bytes are spent on.

    Compressed bytes are known for each part of the image. For a package or file they are its share
    of its part, in proportion to its own size.
    """
    image, manifest = require_image(workspace.image)
    if files and modules:
        raise click.UsageError("--files lists the modules too: give one of --files and --modules")
    rows = kernel_modules(manifest) if modules else by_origin(manifest, single=files)
    if svg is not None:
        try:
            svg.write_text(treemap_svg(image, manifest))
        except OSError as error:
            raise UserError(
                f"--svg {svg}: {error.strerror}", hint="name a file in a folder of yours"
            ) from error
        click.echo(f"{svg}", err=True)
    if as_json:
        print_json({"artefacts": image.artefacts, "parts": manifest.parts, "rows": rows})
        return
    for item in image.artefacts:
        click.echo(f"{item.bytes / 1e6:9.2f} MB  {item.name}")
    for part in manifest.parts:
        click.echo(f"{part.bytes / 1e6:9.2f} MB    {part.name}")
    click.echo(f"\n{'compressed':>12} {'unpacked':>12}  what")
    for row in rows:
        click.echo(f"{row.compressed / 1e3:9.0f} kB {row.bytes / 1e3:9.0f} kB  {row.name}")
