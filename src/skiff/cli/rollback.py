"""`skiff rollback`: a device back to the image that it ran before."""

from __future__ import annotations

import click

from skiff.cli.common import print_json
from skiff.cli.options import examples, json_option, ui_option, workspace_option
from skiff.cli.reach import Way, way_options
from skiff.host.ui import Ui
from skiff.machine.push import Wish, rollback
from skiff.model.workspace import Workspace


@click.command(
    epilog=examples(
        "skiff rollback root@10.0.0.5    start its other slot again",
        "skiff rollback                  the same for the workspace's machine",
    )
)
@click.argument("device", required=False)
@way_options
@workspace_option
@json_option
@ui_option
def command(device: str | None, way: Way, workspace: Workspace, as_json: bool, ui: Ui) -> None:
    """Restart a device with the image of its other slot, and confirm it once the device is well.

    It is tried as an update is: if it does not come up, the device returns to the one that runs now.
    """
    done = rollback(way.to(device, workspace), Wish(), ui)
    if as_json:
        print_json(done)
        return
    click.echo(f"slot {done.slot} runs and is confirmed, {done.seconds:.1f} s after the restart")
