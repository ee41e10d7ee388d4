"""`skiff layers`: what layers there are."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path

import click

from skiff.cli.common import chosen_names, chosen_search, print_json
from skiff.cli.options import examples, json_option, layers_dir_option, workspace_option
from skiff.host.errors import UserErrors
from skiff.layers import Layer, Search, load_all
from skiff.model.workspace import Workspace


@click.command(
    epilog=examples(
        "skiff layers                      those one would choose",
        "skiff layers --all                also those that others bring along",
        "skiff layers --layers-dir mine    with your own, in mine/<namespace>/<name>",
    )
)
@click.option("--all", "everything", is_flag=True, help="Show also layers that others bring along.")
@layers_dir_option
@workspace_option
@json_option
def command(everything: bool, layers_dirs: tuple[Path, ...], workspace: Workspace, as_json: bool) -> None:
    """List the layers there are.

    A star marks the layers that the workspace is configured with. When some cannot be read, it
    lists the others, tells why, and ends with status 2.
    """
    search = chosen_search(layers_dirs, workspace)
    found, broken = load_all(search)
    found = [layer for layer in found if everything or layer.file.listed]
    chosen = chosen_names(workspace)
    if as_json:
        print_json([_facts(layer, chosen) for layer in found])
    else:
        for line in _table(found, chosen, search):
            click.echo(line)
    if broken:
        raise UserErrors(broken)


def _facts(layer: Layer, chosen: tuple[str, ...]) -> dict[str, object]:
    file = layer.file
    return {
        "name": layer.name,
        "description": file.description,
        "path": layer.ref.path,
        "requires": file.requires,
        "conflicts": file.conflicts,
        "arch": file.arch,
        "listed": file.listed,
        "chosen": layer.name in chosen,
    }


def _table(layers: list[Layer], chosen: tuple[str, ...], search: Search) -> list[str]:
    names = max((len(layer.name) for layer in layers), default=0)
    width = shutil.get_terminal_size((100, 24)).columns
    lines = []
    for layer in layers:
        notes = [*layer.file.arch]
        if not layer.ref.path.is_relative_to(search.builtin):
            notes.append("yours")
        text = layer.file.description + (f" ({', '.join(notes)})" if notes else "")
        wrapped = textwrap.wrap(text, max(30, width - names - 4)) or [""]
        mark = "*" if layer.name in chosen else " "
        lines.append(f"{mark} {layer.name:{names}}  {wrapped[0]}")
        lines += [f"  {'':{names}}  {more}" for more in wrapped[1:]]
    return lines
