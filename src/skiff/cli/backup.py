"""`skiff backup`: a device's settings into a file."""

from __future__ import annotations

from pathlib import Path

import click

from skiff.cli.options import examples
from skiff.cli.reach import Way, way_options
from skiff.machine.settings import backup


@click.command(epilog=examples("skiff backup root@10.0.0.5 attic.tar    its settings into attic.tar"))
@click.argument("device")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@way_options
def command(device: str, file: Path, way: Way) -> None:
    """Write a device's settings on persist to a file.

    In it are keys, names, host key, networks, Wi-Fi with its passwords, overlay, checks, docker.json and
    core's config.yaml. Environments that were pushed, apps and data of container engines are not.
    """
    size = backup(way.named(device), file)
    click.echo(f"{size / 1e3:.0f} KB in {file}")
