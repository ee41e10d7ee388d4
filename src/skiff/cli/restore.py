"""`skiff restore`: settings from a file onto a device."""

from __future__ import annotations

from pathlib import Path

import click

from skiff.cli.options import examples
from skiff.cli.reach import Way, confirm, way_options
from skiff.machine.settings import restore


@click.command(epilog=examples("skiff restore root@10.0.0.5 attic.tar    the settings of attic.tar"))
@click.argument("device")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@way_options
def command(device: str, file: Path, yes: bool, way: Way) -> None:
    """Put the settings that `skiff backup` wrote in place of a device's.

    Settings that the file does not hold stay. Most count at once; overlay, host key and the like with the
    next start.
    """
    confirm(f"put the settings of {file} in place of those of {device}", yes)
    restore(way.named(device), file)
    click.echo("done; what is read at boot counts from the next start")
