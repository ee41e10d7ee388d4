"""`skiff push`: the image to devices over SSH, into the slot that does not run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec

from skiff import pipeline
from skiff.cli.build import build_image, build_options
from skiff.cli.common import print_json, resolve_recipe
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
from skiff.host.dirs import cache_dir
from skiff.host.errors import UserError
from skiff.host.ui import Ui
from skiff.machine import fleet
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
    help="Update all devices of this file, in waves; stop after so many failures.",
)
@click.option(
    "--sign",
    type=click.Path(path_type=Path),
    metavar="KEY",
    help="Sign the image with this private SSH key. [default: SKIFF_SIGN_KEY]",
)
@click.option("--tries", default=3, show_default=True, help="Starts in which the new image has to come up.")
@click.option(
    "--confirm-within",
    default=300,
    show_default=True,
    metavar="SECONDS",
    help="After a start that nobody confirms the device waits so long, then goes back by itself.",
)
@click.option(
    "--patience", default=900, show_default=True, metavar="SECONDS", help="How long to wait for its return."
)
@way_options
@build_options
@workspace_option
@json_option
@ui_option
def command(
    device: str | None,
    choice: Choice,
    hosts: Path | None,
    sign: Path | None,
    tries: int,
    confirm_within: int,
    patience: int,
    way: Way,
    how: pipeline.Options,
    workspace: Workspace,
    ui: Ui,
    as_json: bool,
) -> None:
    """Build the image, send it to a device, restart it there, and confirm it once the device is well.

    DEVICE is as ssh takes it; root is meant unless another user is named. Only what differs from what the
    device has is sent, into the slot that does not run. If the device does not come up with the new image, or
    is less well than before, it goes back to the old one, by itself if need be.
    """
    choice, device = _words(choice, device, hosts)
    if hosts is not None:
        listed = fleet.load(hosts)
    recipe = resolve_recipe(choice, workspace, ui)
    image, _ = build_image(recipe, workspace, ui, how)
    wish = Wish(tries, confirm_within, patience)
    with _slot_folder(workspace) as folder:
        pipeline.slot(folder, image, cache_dir(), sign or _usual_key(), ui)
        if hosts is None:
            _tell(push(way.to(device, workspace), folder, wish, ui), as_json)
            return
        outcome = fleet.roll_out(
            listed, lambda address, quiet: push(way.to(address, workspace), folder, wish, quiet), ui
        )
    if as_json:
        print_json(outcome)
    if outcome.failed:
        raise UserError(
            f"{len(outcome.failed)} of {len(listed.hosts)} devices failed, "
            f"{len(outcome.untried)} were not tried",
            hint="see above for each; they run what they ran before",
        )


def _words(choice: Choice, device: str | None, hosts: Path | None) -> tuple[Choice, str | None]:
    """The first word is a layer, not a device, when it looks like one, or when a file names the devices."""
    if device is not None and (hosts is not None or "/" in device):
        return msgspec.structs.replace(choice, layers=(*split_names(device), *choice.layers)), None
    return choice, device


def _usual_key() -> Path | None:
    named = os.environ.get("SKIFF_SIGN_KEY", "")
    return Path(named).expanduser() if named else None


@contextmanager
def _slot_folder(workspace: Workspace) -> Iterator[Path]:
    workspace.root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".slot-", dir=workspace.root) as folder:
        yield Path(folder)


def _tell(done: Done, as_json: bool) -> None:
    if as_json:
        print_json(done)
        return
    click.echo(
        f"slot {done.slot} runs and is confirmed, {done.seconds:.1f} s after the restart; sent "
        f"{done.sent / 1e6:.2f} of {done.bytes / 1e6:.2f} MB"
    )
