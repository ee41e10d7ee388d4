"""`skiff reset`: a device as after its first start."""

from __future__ import annotations

import click

from skiff.cli.options import examples
from skiff.cli.reach import Way, confirm, way_options
from skiff.machine.settings import reset


@click.command(
    epilog=examples("skiff reset root@10.0.0.5    forget all that it was told, containers included")
)
@click.argument("device")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@way_options
def command(device: str, yes: bool, way: Way) -> None:
    """Restart a device as after its first start: all of Skiff's on persist is deleted.

    Settings, keys, host key, containers, apps and their data go. Afterwards only keys of its image let you
    in, and it shows a new host key. What else lies on persist stays, and so do both slots.
    """
    confirm(f"delete all settings, containers and apps of {device}, with their data", yes)
    reset(way.named(device))
    click.echo("it has started anew; let ssh forget its old host key: ssh-keygen -R HOST")
