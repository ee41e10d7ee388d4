"""`skiff push`: the image to devices over SSH, into the slot that does not run."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from skiff import pipeline
from skiff.cli.build import build_options
from skiff.cli.common import print_json
from skiff.cli.fleet_push import Source, roll_out, update_options
from skiff.cli.fleet_work import Work, all_options
from skiff.cli.options import (
    Choice,
    examples,
    json_option,
    recipe_options,
    split_names,
    ui_option,
    workspace_option,
)
from skiff.cli.reach import Way, way_options
from skiff.host.ui import Ui
from skiff.machine.push import Done, Wish, push
from skiff.model.workspace import Workspace


@click.command(
    epilog=examples(
        "skiff push root@10.0.0.5                  build the layers of last time, and update that device",
        "skiff push root@10.0.0.5 pc/uefi          other layers",
        "skiff push --sign ~/.ssh/id_ed25519 root@10.0.0.5",
        "skiff push --all hosts.toml               a whole fleet, a few at a time",
        "skiff push                                the workspace's machine (skiff run --disk-boot)",
    )
)
@click.argument("device", required=False)
@recipe_options
@click.option(
    "--all",
    "hosts",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Update the devices of this inventory, in waves, as `skiff fleet push` does.",
)
@all_options
@update_options
@way_options
@build_options
@workspace_option
@json_option
@ui_option
def command(
    device: str | None,
    choice: Choice,
    work: Work | None,
    sign: Path | None,
    tries: int,
    confirm_within: int,
    patience: int,
    again: bool,
    way: Way,
    how: pipeline.Options,
    workspace: Workspace,
    ui: Ui,
    as_json: bool,
) -> None:
    """Build the image, send it to a device, restart it there, and confirm it once the device is well.

    DEVICE is as ssh takes it; root is meant unless another user is named. Only what differs from what the
    device has is sent, into the slot that does not run. If the device does not come up with the new image, or
    is less well than before, it goes back to the old one, by itself if need be. A device that runs this very
    image already is left alone.
    """
    choice, device = _words(choice, device, work is not None)
    source, wish = Source(choice, workspace, how, sign), Wish(tries, confirm_within, patience, again=again)
    if work is not None:
        roll_out(work, source, wish, way, ui, as_json)
        return
    remote = way.to(device, workspace)
    with source.slot(ui) as folder:
        _tell(push(remote, folder, wish, ui), as_json)


def _words(choice: Choice, device: str | None, fleet: bool) -> tuple[Choice, str | None]:
    """The first word is a layer, not a device, when it looks like one, or when a file names the devices."""
    if device is not None and (fleet or "/" in device):
        return msgspec.structs.replace(choice, layers=(*split_names(device), *choice.layers)), None
    return choice, device


def _tell(done: Done, as_json: bool) -> None:
    if as_json:
        print_json(done)
        return
    if done.already:
        click.echo(f"slot {done.slot} runs this image already: nothing was sent")
        return
    click.echo(
        f"slot {done.slot} runs and is confirmed, {done.seconds:.1f} s after the restart; sent "
        f"{done.sent / 1e6:.2f} of {done.bytes / 1e6:.2f} MB"
    )
