"""How verbs reach a device; where it need not be named, the workspace's machine is meant."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import click

from skiff.cli.options import Verb, with_options
from skiff.host.errors import UserError
from skiff.host.run import Group
from skiff.machine import bringup, lifecycle, remote, ssh
from skiff.machine.files import MachineFiles
from skiff.machine.remote import Remote
from skiff.model.fleet import Host
from skiff.model.workspace import Workspace


class Way:
    """How devices are reached, as the command line says it."""

    def __init__(self, port: int | None, key: Path | None, options: tuple[str, ...]) -> None:
        self.port = port
        self.key = key
        self.options = options

    def named(self, address: str) -> Remote:
        """The device of that address."""
        return remote.device(address, self.port, self.key, self.options)

    def to(self, address: str | None, workspace: Workspace) -> Remote:
        """The device of that address, else the workspace's machine. Raises UserError when none runs."""
        if address is not None:
            return self.named(address)
        files = MachineFiles(workspace.machine)
        state = bringup.running(files)
        if state is None:
            raise UserError(
                f"no device is named, and no machine of workspace {workspace.name} is running",
                hint="name one, as root@10.0.0.5, or: skiff run --disk-boot --detach",
            )
        target = lifecycle.target(files, state, ssh.usable_keys(workspace.private_key, Path.home()))
        return remote.machine(target, self.options)

    def host(self, host: Host, group: Group) -> Remote:
        """A device of an inventory, which goes before the command line."""
        address, port, key = f"{host.user}@{host.address}", host.port or self.port, host.key or self.key
        return remote.device(address, port, key, self.options, more=host.ssh, group=group)


def way_options(verb: Verb) -> Verb:
    """`--port`, `--identity` and `--ssh-option`, as ``way: Way``."""

    @functools.wraps(verb)
    def wrapper(
        *args: Any, port: int | None, identity: Path | None, ssh_option: tuple[str, ...], **kwargs: Any
    ) -> Any:
        return verb(*args, way=Way(port, identity, ssh_option), **kwargs)

    return with_options(
        wrapper,
        click.option("-p", "--port", type=int, metavar="N", help="Port of its SSH. [default: as ssh has it]"),
        click.option(
            "-i",
            "--identity",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Private key to log in with.",
        ),
        click.option("--ssh-option", multiple=True, metavar="KEY=VALUE", help="A further setting of ssh."),
    )


def confirm(what: str, yes: bool) -> None:
    """Ask before something that cannot be taken back. Raises UserError without a terminal to ask at."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UserError(f"not done without a question: {what}", hint="--yes does it without")
    click.confirm(f"{what[0].upper()}{what[1:]}?", abort=True)
