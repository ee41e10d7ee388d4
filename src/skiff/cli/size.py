"""`skiff size`: what the image's bytes are spent on."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from skiff.cli.common import print_json, write_picture
from skiff.cli.options import examples, json_option, workspace_option
from skiff.image.growth import FILES, LAYERS, MODULES, PACKAGES, Sizes, compare, other_sizes, sizes, total
from skiff.image.report import require_image
from skiff.image.treemap import treemap_svg
from skiff.model.workspace import Workspace


@click.command(
    epilog=examples(
        "skiff size                      a table, largest first",
        "skiff size --svg size.svg       a picture: one field for each file",
        "skiff size --files              every file",
        "skiff size --modules            every kernel module",
        "skiff size --layers             what each layer adds",
        "skiff size --against before     what grew since the image of the workspace `before`",
    )
)
@workspace_option
@click.option("--files", is_flag=True, help="List single files instead of packages and layers.")
@click.option("--modules", is_flag=True, help="List kernel modules instead of packages and layers.")
@click.option("--layers", is_flag=True, help="List what each layer adds, the kernel included.")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Write a treemap to this file.")
@click.option(
    "--against",
    metavar="OTHER",
    help="Show what grew since another image: a workspace, a folder, or what --json printed of it.",
)
@json_option
def command(
    workspace: Workspace,
    as_json: bool,
    files: bool,
    modules: bool,
    layers: bool,
    svg: Path | None,
    against: str | None,
) -> None:
    """Show what the image's bytes are spent on, or what made it grow.

    Compressed bytes are known for each part of the image. For a package or file they are its share
    of its part, in proportion to its own size.
    """
    image, manifest = require_image(workspace.image)
    if files + modules + layers > 1:
        raise click.UsageError("give one of --files, --modules and --layers")
    if svg is not None:
        write_picture(svg, treemap_svg(image, manifest))
    mine = sizes(image, manifest, _kind(files, modules, layers))
    if against is not None:
        _print_growth(other_sizes(against, mine.by), mine, as_json)
        return
    if as_json:
        print_json({**msgspec.structs.asdict(mine), "parts": manifest.parts})
        return
    for item in image.artefacts:
        click.echo(f"{item.bytes / 1e6:9.2f} MB  {item.name}")
    for part in manifest.parts:
        click.echo(f"{part.bytes / 1e6:9.2f} MB    {part.name}")
    click.echo(f"\n{'compressed':>12} {'unpacked':>12}  what")
    for row in mine.rows or ():
        click.echo(f"{row.compressed / 1e3:9.0f} kB {row.bytes / 1e3:9.0f} kB  {row.name}")


def _kind(files: bool, modules: bool, layers: bool) -> str:
    return FILES if files else MODULES if modules else LAYERS if layers else PACKAGES


def _print_growth(before: Sizes, after: Sizes, as_json: bool) -> None:
    changes = compare(before, after)
    was, now = total(before), total(after)
    if as_json:
        rows = [{**msgspec.structs.asdict(change), "grown": change.grown} for change in changes]
        print_json({"by": after.by, "before": was, "after": now, "grown": now - was, "rows": rows})
        return
    click.echo(f"{'before':>12} {'now':>12} {'grown':>12}  what")
    for name, old, new, note in [("in all", was, now, ""), *map(msgspec.structs.astuple, changes)]:
        told = f"{name} ({note})" if note else name
        click.echo(f"{old / 1e3:9.0f} kB {new / 1e3:9.0f} kB {(new - old) / 1e3:+9.0f} kB  {told}")
