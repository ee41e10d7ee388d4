"""`skiff slots`: what a device's two slots hold."""

from __future__ import annotations

import time

import click

from skiff.cli.common import print_json
from skiff.cli.options import examples, json_option, workspace_option
from skiff.cli.reach import Way, way_options
from skiff.machine.slots import Slot, look
from skiff.model.workspace import Workspace

_STATES = {
    "empty": "empty",
    "good": "good",
    "trial": "on trial",
    "spare": "not started next",
    "bad": "did not start",
}


@click.command(
    epilog=examples(
        "skiff slots root@10.0.0.5           what it has, and which one runs",
        "skiff slots --json root@10.0.0.5    the same for programs",
    )
)
@click.argument("device", required=False)
@way_options
@workspace_option
@json_option
def command(device: str | None, way: Way, workspace: Workspace, as_json: bool) -> None:
    """Show what a device's slots hold; `*` marks the one that runs."""
    found = look(way.to(device, workspace))
    if as_json:
        print_json(found)
        return
    for name, slot in sorted(found.slots.items()):
        mark = "*" if name == found.running else " "
        click.echo(f"{mark} {name}  {_STATES.get(slot.state, slot.state)}{_more(slot)}")


def _more(slot: Slot) -> str:
    tries = f", {slot.tries} tries left" if slot.tries else ""
    if not slot.version:
        return tries
    day = time.strftime("%Y-%m-%d", time.gmtime(int(slot.version)))
    return f"{tries}, packages of {day}, {slot.layers}, image {slot.image[:12]}"
