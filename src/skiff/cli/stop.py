"""`skiff stop`: stop the machine."""

from __future__ import annotations

import functools
from pathlib import Path

import click

from skiff.cli.options import Seconds, examples, ui_option, workspace_option
from skiff.host.ui import Ui
from skiff.machine import bringup, lifecycle, ssh
from skiff.machine.files import MachineFiles
from skiff.model.workspace import Workspace


@click.command(
    epilog=examples(
        "skiff stop                 power off, or cut the power after a while",
        "skiff stop --force         cut the power at once; the system can take it",
    )
)
@click.option("--force", is_flag=True, help="Cut the power at once.")
@click.option(
    "--timeout",
    type=Seconds(min=0),
    default=40,
    show_default=True,
    help="Seconds that the system may take to power off.",
)
@workspace_option
@ui_option
def command(force: bool, timeout: float, workspace: Workspace, ui: Ui) -> None:
    """Stop the workspace's machine, and no other. Its persist disk stays."""
    files = MachineFiles(workspace.machine)
    if not lifecycle.is_running(files):
        click.echo(f"no machine of workspace {workspace.name} is running")
    elif force:
        lifecycle.cut_power(files)
    else:
        state = bringup.running(files)
        keys = ssh.usable_keys(workspace.private_key, Path.home())
        ask = functools.partial(ssh.power_off, lifecycle.target(files, state, keys)) if state else None
        with ui.step("stop the machine"):
            lifecycle.stop(files, power_off=ask, patience=timeout)
