"""`skiff ssh`: log in to the machine, or run a command there."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from skiff.cli.options import examples, workspace_option
from skiff.host.errors import UserError
from skiff.host.files import shown
from skiff.host.run import replace
from skiff.machine import bringup, lifecycle, ssh
from skiff.machine.files import MachineFiles
from skiff.machine.login import log_in_to_machine
from skiff.model.workspace import Workspace


@click.command(
    context_settings={"allow_interspersed_args": False},
    epilog=examples(
        "skiff ssh                            log in as root",
        "skiff ssh -- docker ps               run one program; its exit status is this one's",
        "skiff ssh -- sh -c 'ls /dev | wc'    a line for the shell there",
        "skiff ssh -- cat >there <here        streams pass byte for byte",
        "skiff ssh --user joe                 log in as somebody else",
    ),
)
@click.option("-u", "--user", default="root", show_default=True, help="Who to log in as.")
@click.option("-t", "--tty", is_flag=True, help="Give the program a terminal, as an editor needs.")
@click.option("--new-host-key", is_flag=True, help="Forget the machine's host key, trust the one it has now.")
@workspace_option
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[-- WORDS…]")
def command(user: str, tty: bool, new_host_key: bool, workspace: Workspace, words: tuple[str, ...]) -> None:
    """Log in to the workspace's virtual machine, or run a program there.

    WORDS reach the program exactly as they are here: no shell takes them apart. Standard input, output,
    error and the exit status are the program's own.
    """
    files = MachineFiles(workspace.machine)
    state = bringup.running(files)
    if state is None:
        key = f"-i {shown(workspace.private_key)} " if workspace.private_key.exists() else ""
        raise UserError(
            f"no machine of workspace {workspace.name} is running",
            hint=f"skiff run --detach; to log in to a device: ssh {key}root@ADDRESS",
        )
    if new_host_key:
        files.known_hosts.unlink(missing_ok=True)
    keys = ssh.usable_keys(workspace.private_key, Path.home())
    target = lifecycle.target(files, state, keys, user)
    wants_tty = tty or (not words and sys.stdin.isatty() and sys.stdout.isatty())
    if user == "root":
        replace(ssh.argv(target, words, tty=wants_tty))
    raise click.exceptions.Exit(log_in_to_machine(target, words, tty=wants_tty))
