#!/usr/bin/env python3
"""Writes the reference pages that come from the code: keys of layer.toml, verbs of the command line."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from skiff.cli import VERBS, cli
from skiff.model.layer import LayerFile
from tools import crew_reference, json_reference

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"

_MADE = "<!-- Written by `make docs` from the code: change it there. -->\n"

_TYPES = {"string": "string", "integer": "whole number", "boolean": "true or false"}

_RULES = """\
Layers are merged in order: `base` first, each layer after those it requires, `overrides` last.

- Lists grow. What is in already is not added again. In a later layer `-word` takes an earlier layer's
  word away; that there is none is a mistake, unless it is written `-?word`.
- Lists of tables, as `[[disk.raw]]`, grow too. Entries are known by `name`, those of `[[debian.base]]` by
  `path`: a later layer's replaces an earlier one of that name.
- In tables of single values, and for single values, the later layer wins. `debian.keep` is a table of
  lists: these grow.
- A package that any layer asks for in `debian.packages` is unpacked, even when another layer names it in
  `debian.provided`.
- A key that is not listed here is a mistake.

`skiff show --why KEY` names the layer that set a value."""


def layer_page() -> str:
    """docs/reference/layer-toml.md."""
    (reference,), types = msgspec.json.schema_components([LayerFile], ref_template="{name}")
    top = types[reference["$ref"]]
    plain = {key: value for key, value in top["properties"].items() if not _reference(value)}
    parts = [
        "# layer.toml",
        _MADE + "\nA layer is a folder with this file in it.",
        _RULES,
        "## Top of the file",
    ]
    parts.append(_table(plain, top.get("required", [])))
    for name, value in top["properties"].items():
        section = _reference(value)
        if section:
            parts += _section(f"[{name}]", types[section], types)
    return "\n\n".join(parts) + "\n"


def _section(title: str, kind: dict[str, Any], types: dict[str, Any]) -> list[str]:
    parts = [
        f"## {title}",
        inspect.cleandoc(kind["description"]),
        _table(kind["properties"], kind.get("required", [])),
    ]
    for key, value in kind["properties"].items():
        item = _reference(value.get("items", {}))
        if item:
            # A list of tables is written with two brackets.
            parts += _section(f"[[{title.strip('[]')}.{key}]]", types[item], types)
        item = _reference(value.get("additionalProperties", {}))
        if item:
            # A table of tables: one for each name.
            parts += _section(f"[{title.strip('[]')}.{key}.…]", types[item], types)
    return parts


def _reference(value: dict[str, Any]) -> str:
    """Name of the type that a schema stands for, empty for a plain one."""
    if "$ref" in value:
        return str(value["$ref"])
    return next((str(one["$ref"]) for one in value.get("anyOf", value.get("allOf", [])) if "$ref" in one), "")


def _table(properties: dict[str, Any], required: list[str]) -> str:
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for key, value in properties.items():
        default = "needed" if key in required else _default(value.get("default"))
        text = value.get("description", "").replace("|", "\\|")
        if "pattern" in value:
            text += f" Must match `{value['pattern']}`.".replace(r"\Z", "$").replace("|", "\\|")
        examples = [msgspec.json.encode(one).decode() for one in value.get("examples", [])]
        if examples:
            text += f" Example: {', '.join(f'`{one}`' for one in examples)}."
        rows.append(f"| `{key}` | {_type(value)} | {default} | {text} |")
    return "\n".join(rows)


def _type(value: dict[str, Any], many: str = "") -> str:
    """What a key takes; ``many`` is the ending of several."""
    kind = value.get("type")
    if kind == "array":
        return "list of tables" if _reference(value["items"]) else "list of strings"
    if kind == "object":
        inner = value.get("additionalProperties", {})
        if _reference(inner):
            return "table of tables"
        return (
            "table of lists of strings" if inner.get("type") == "array" else f"table of {_type(inner, 's')}"
        )
    text = _TYPES.get(str(kind), str(kind)) + many
    if "minimum" in value and "maximum" in value:
        text += f", {value['minimum']} to {value['maximum']}"
    return text


def _default(value: object) -> str:
    if value in (None, "", 0) or value == [] or value == {}:
        return "false" if value is False else "–"
    return f"`{msgspec.json.encode(value).decode()}`"


def verbs_page() -> str:
    """docs/reference/verbs.md."""
    root = click.Context(cli, info_name="skiff", help_option_names=["-h", "--help"])
    parts = ["# Verbs", _MADE + "\nWhat `skiff --help` and `skiff VERB --help` print.", _help(root)]
    for name in cli.list_commands(root):
        command = cli.get_command(root, name)
        assert command is not None
        context = click.Context(command, parent=root, info_name=name)
        parts += [f"## {name}", VERBS[name], _help(context)]
        if isinstance(command, click.Group):
            for word, one in command.commands.items():
                inner = click.Context(one, parent=context, info_name=word)
                parts += [f"### {name} {word}", _help(inner)]
    return "\n\n".join(parts) + "\n"


def _help(context: click.Context) -> str:
    # As wide as a page, whatever terminal this runs in.
    context.terminal_width = context.max_content_width = 100
    text = "\n".join(line.rstrip() for line in context.get_help().splitlines())
    return f"```text\n{text}\n```"


def crew_page() -> str:
    """docs/reference/crew-commands.md."""
    head = "What `ssh crew@DEVICE COMMAND`, `skiff crew DEVICE COMMAND` and, for root, `crew COMMAND` take."
    roles = (
        "Keys of admins may use all of them, the others what names them here. `--all` and `--global` are for "
        "admins,\nwhatever the line says."
    )
    return "\n\n".join(["# Commands of crew", f"{_MADE}\n{head}\n{roles}", crew_reference.page()]) + "\n"


def json_page() -> str:
    """docs/reference/json.md."""
    head = (
        "Verbs with `--json` print one document on standard output, all else on standard error. Sizes are in "
        'bytes, times in seconds,\npaths absolute. What is not known is `null`, `""` or not there. A program '
        "should take no notice of keys that it does not know."
    )
    return "\n\n".join(["# What --json prints", f"{_MADE}\n{head}", json_reference.page()]) + "\n"


PAGES = {
    "layer-toml.md": layer_page,
    "verbs.md": verbs_page,
    "json.md": json_page,
    "crew-commands.md": crew_page,
}


def stale() -> list[Path]:
    """Pages that differ from what the code says."""
    files = [(FOLDER / name, page()) for name, page in PAGES.items()]
    return [file for file, text in files if not file.exists() or file.read_text() != text]


def main() -> int:
    """Write the pages; with `--check` only tell whether they are as the code says."""
    if "--check" in sys.argv[1:]:
        old = stale()
        for file in old:
            print(
                f"{file.relative_to(FOLDER.parents[1])}: not as the code says; run `make docs`",
                file=sys.stderr,
            )
        return 1 if old else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
