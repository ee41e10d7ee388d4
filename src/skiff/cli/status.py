"""`skiff status`: tell how the machine is."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from skiff.cli.common import print_json
from skiff.cli.options import examples, json_option, workspace_option
from skiff.host.run import which
from skiff.host.workspace import open_workspace
from skiff.image.assemble import load
from skiff.machine import report
from skiff.machine.files import MachineFiles
from skiff.machine.ssh import usable_keys
from skiff.model.workspace import Workspace


@click.command(
    epilog=examples(
        "skiff status               whether it runs, how to log in",
        "skiff status --json        the same for programs: ssh_port, pid, uptime_seconds, …",
    )
)
@workspace_option
@json_option
def command(workspace: Workspace, as_json: bool) -> None:
    """Tell how the workspace's machine is, and how to reach it."""
    files = MachineFiles(workspace.machine)
    keys = usable_keys(workspace.private_key, Path.home())
    found = report.inspect(workspace.name, files, load(workspace.image), keys)
    if as_json:
        print_json(found)
    else:
        print_lines(report.lines(found, verb=verb_form(workspace)))


def print_lines(rows: list[tuple[str, str]]) -> None:
    """Print labels and texts in two columns."""
    width = max(len(label) for label, _ in rows)
    for label, text in rows:
        click.echo(f"  {label:{width}}  {text}".rstrip())


def verb_form(workspace: Workspace) -> str:
    """How this workspace's verbs are typed here, with `{}` for the verb: `.venv/bin/skiff {}`."""
    program = Path(sys.argv[0]).absolute()
    found = which("skiff")
    at_hand = found is not None and program.exists() and Path(found).samefile(program)
    below = program.is_relative_to(Path.cwd())
    path = str(program.relative_to(Path.cwd()) if below else program)
    shown = "skiff" if at_hand or program.name != "skiff" else path
    name = "" if open_workspace(None).name == workspace.name else f" -w {workspace.name}"
    return f"{shlex.quote(shown)} {{}}{name}"
