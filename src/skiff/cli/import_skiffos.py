"""`skiff import-skiffos`: a config package of SkiffOS turned into a layer."""

from __future__ import annotations

from pathlib import Path

import click

from skiff.cli.common import print_json
from skiff.cli.options import examples, json_option
from skiff.layers.imported import import_package

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(
    epilog=examples(
        "skiff import-skiffos configs/odroid/xu            a layer in layers/odroid/xu",
        "skiff import-skiffos configs/odroid/xu --to mine  a layer in mine/odroid/xu",
    )
)
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option(
    "--to",
    "target",
    metavar="DIR",
    default="layers",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder of layers.",
)
@json_option
def command(folder: Path, target: Path, as_json: bool) -> None:
    """Turn a config package of SkiffOS into a layer, and tell what became of each part.

    `kept` is there as it was, `translated` says the same another way, `left` is not in the layer, and why.
    The package itself stays as it is; `skiff build` reads it without this, too.
    """
    made, parts = import_package(folder.absolute(), target.absolute())
    if as_json:
        print_json({"layer": made, "parts": parts})
        return
    click.echo(f"layer       {made}")
    for part in parts:
        click.echo(f"{part.fate:11} {part.name}: {part.note}")
