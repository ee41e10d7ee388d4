"""`skiff crew`: a command for the apps of a device."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from skiff.cli.options import examples, workspace_option
from skiff.host.errors import UserError
from skiff.machine import bringup, crew, lifecycle, remote, ssh
from skiff.machine.files import MachineFiles
from skiff.machine.login import log_in, log_in_to_machine
from skiff.model.workspace import Workspace


@click.command(
    context_settings={"allow_interspersed_args": False},
    epilog=examples(
        "skiff crew apps:list                         apps of the workspace's machine",
        "skiff crew device.local apps:list            apps of a device by its name",
        "skiff crew device.local config:set app 'TEXT=a b; $c'   words arrive as they are here",
        "skiff crew device.local backup:export >file  streams pass byte for byte",
        "skiff crew device.local enter app            a shell in a container of an app",
        "skiff crew device.local help                 all commands",
    ),
)
@workspace_option
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[HOST] COMMAND…")
def command(workspace: Workspace, words: tuple[str, ...]) -> None:
    """Look after the apps of a device, which `git push crew@HOST:APP main` brings there.

    HOST is a name, user@name or ssh://user@name:port; without it the workspace's machine is meant. The
    words of COMMAND reach crew exactly as they are here. Standard input, output, error and the exit status
    are the command's own. Commands that are worked with at a terminal get one.
    """
    host, rest = crew.split(words)
    tty = crew.wants_tty(rest) and sys.stdin.isatty() and sys.stdout.isatty()
    if host:
        address = crew.root_of(host)
        root = remote.device(address) if address else None
        raise click.exceptions.Exit(log_in(crew.argv(host, rest, tty=tty), crew.USER, root, host))
    files = MachineFiles(workspace.machine)
    state = bringup.running(files)
    if state is None:
        raise UserError(
            f"no machine of workspace {workspace.name} is running",
            hint="skiff run --detach, or name a device: skiff crew HOST COMMAND…",
        )
    keys = ssh.usable_keys(workspace.private_key, Path.home())
    target = lifecycle.target(files, state, keys, crew.USER)
    raise click.exceptions.Exit(log_in_to_machine(target, rest or ["help"], tty=tty))
