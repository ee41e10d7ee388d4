"""`skiff show`: the resolved recipe, and which layer set each value."""

from __future__ import annotations

import difflib
import re
import shutil
import textwrap
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from skiff.builders.buildroot import external as settings
from skiff.cli.common import print_json, resolve_recipe
from skiff.cli.options import Choice, examples, json_option, recipe_options, workspace_option
from skiff.host.errors import UserError
from skiff.host.ui import Ui
from skiff.layers import FIELDS
from skiff.model.recipe import Recipe
from skiff.model.workspace import Workspace

# In a layer's place, for what no layer sets.
DEFAULT = "(default)"
# What `skiff show` lists besides, and who says it.
CHOSEN = {
    "arch": "--arch chooses the CPU, among those that all layers are for",
    "layers": "you name them, and each brings what it requires",
    "authorized_keys": "they are yours, the workspace's, and those of --ssh-key",
}


@click.command(
    epilog=examples(
        "skiff show virt/qemu,engine/docker     what these layers add up to",
        "skiff show --why hostname              which layer set the host name",
        "skiff show --why 'packages[rsync]'     who wants rsync",
        "skiff show --why BR2_PACKAGE_RSYNC     each layer's word on a setting of Buildroot or its kernel",
        "skiff show --why kernel.cmdline        keys of layer.toml are known too",
    )
)
@click.option("--why", metavar="KEY", help="Show one key, item by item, with the layer that set it last.")
@recipe_options
@workspace_option
@json_option
def command(why: str | None, choice: Choice, workspace: Workspace, as_json: bool) -> None:
    """Show what the layers add up to, and which layer set what."""
    recipe = resolve_recipe(choice, workspace, Ui(quiet=True), remember=False, make_key=False)
    if why is not None:
        rows = explain(recipe, why)
        if as_json:
            print_json([{"key": key, "value": value, "layer": layer} for key, value, layer in rows])
        elif any(value or layer != DEFAULT for _, value, layer in rows):
            _print_rows(rows)
        else:
            click.echo(f"{why}: no layer of this recipe sets it; it is empty")
    elif as_json:
        print_json(recipe)
    else:
        for line in _overview(recipe):
            click.echo(line)


def explain(recipe: Recipe, key: str) -> list[tuple[str, str, str]]:
    """Key, value and layer for each item of a key. Raises UserError for a key or item that is not there."""
    if key.startswith(("BR2_", "CONFIG_")):
        return _settings(recipe, key)
    match = re.fullmatch(r"([\w.]+?)(?:\[(.*)\])?", key)
    name, item = (match[1], match[2]) if match else (key, None)
    field = {toml: field for field, toml in FIELDS.items()}.get(name, name)
    if field not in FIELDS:
        raise UserError(f"--why {key}: unknown key", hint=_nearest(name))
    rows = list(_rows(recipe, field))
    if item is not None:
        names = [_item(row[0]) for row in rows]
        rows = [row for row in rows if _item(row[0]) in (item, f"?{item}")]
        if not rows:
            near = difflib.get_close_matches(item, names, n=2)
            raise UserError(
                f"--why {key}: no layer of this recipe sets it",
                hint=f"did you mean {' or '.join(near)}?"
                if near
                else f"`skiff show --why {field}` lists all",
            )
    return rows


def _nearest(name: str) -> str:
    if name in CHOSEN:
        return f"`skiff show` shows it, and no layer sets it: {CHOSEN[name]}"
    # Somebody who knows half of the name, `memory`; then slips of the finger, each key in one spelling.
    near = {field: toml for field, toml in FIELDS.items() if name in toml.split(".")}
    for word in difflib.get_close_matches(name, [*FIELDS, *FIELDS.values()], n=3):
        near.setdefault(next(field for field, toml in FIELDS.items() if word in (field, toml)), word)
    if near:
        return f"did you mean {' or '.join(near.values())}?"
    return "`skiff show` lists what there is"


def _settings(recipe: Recipe, symbol: str) -> list[tuple[str, str, str]]:
    """Every layer's word on a symbol of Kconfig, first to last: the last one counts."""
    rows = [(f"{kind}[{symbol}]", value, layer) for kind, value, layer in settings.explain(recipe, symbol)]
    if not rows:
        near = difflib.get_close_matches(symbol, settings.symbols(recipe), n=2)
        raise UserError(
            f"--why {symbol}: no layer of this recipe sets it",
            hint=f"did you mean {' or '.join(near)}?" if near else "its value is Kconfig's own",
        )
    return rows


def _item(key: str) -> str:
    return key.partition("[")[2][:-1]


def _rows(recipe: Recipe, field: str) -> Iterator[tuple[str, str, str]]:
    if field == "keep":
        yield from _kept(recipe)
        return
    value = getattr(recipe, field)
    if isinstance(value, str | int):
        yield field, str(value), recipe.origins.get(field, DEFAULT)
        return
    for name, text in _items(value):
        key = f"{field}[{name}]"
        yield key, text, recipe.origins.get(key, recipe.origins.get(field, DEFAULT))


def _kept(recipe: Recipe) -> Iterator[tuple[str, str, str]]:
    """What is taken of packages: several layers may have a word in one."""
    for package, globs in recipe.keep.items():
        key = f"keep[{package}]"
        if not globs:
            yield key, "", recipe.origins[key]
        for glob in globs:
            yield key, glob, recipe.origins[f"{key}[{glob}]"]


def _items(value: Any) -> Iterator[tuple[str, str]]:
    """Each item's name, and what there is to say of it besides."""
    if isinstance(value, msgspec.Struct):
        # Numbers of this kind are addresses.
        for name, number in msgspec.structs.asdict(value).items():
            yield name, f"{number:#x}"
        return
    if isinstance(value, dict):
        for name, content in value.items():
            yield name, " ".join(content) if isinstance(content, tuple) else str(content)
        return
    for entry in value:
        if isinstance(entry, msgspec.Struct):
            facts = msgspec.to_builtins(entry)
            # What they are known by comes first: a name, or for base images the path of their list.
            name = facts.pop(next(iter(facts)))
            yield name, " ".join(f"{key}={text}" for key, text in facts.items() if text != [])
        else:
            yield entry, ""


def _print_rows(rows: list[tuple[str, str, str]]) -> None:
    texts = [f"{key} = {value}" if value else key for key, value, _ in rows]
    # A line per item; a very long value does not push the layers out of sight.
    width = min(max((len(text) for text in texts), default=0), 72)
    for text, (_, _, layer) in zip(texts, rows, strict=True):
        click.echo(f"{text:{width}}  {layer}")


def _overview(recipe: Recipe) -> Iterator[str]:
    width = max(60, shutil.get_terminal_size((100, 24)).columns)
    names = max(len(field) for field in ("authorized_keys", *FIELDS))
    keys = [f"{words[0]} {words[2] if len(words) > 2 else '(no comment)'}" for words in _split(recipe)]
    parts: list[tuple[str, str]] = [
        ("arch", recipe.arch.value),
        ("layers", ", ".join(recipe.names)),
        *((field, _short(getattr(recipe, field))) for field in FIELDS),
        ("authorized_keys", ", ".join(keys)),
    ]
    for name, text in parts:
        lines = textwrap.wrap(text, width - names - 2, break_on_hyphens=False, break_long_words=False) or [
            "-"
        ]
        yield f"{name:{names}}  {lines[0]}"
        yield from (f"{'':{names}}  {line}" for line in lines[1:])


def _split(recipe: Recipe) -> list[list[str]]:
    return [line.split(None, 2) for line in recipe.authorized_keys]


def _short(value: Any) -> str:
    if isinstance(value, str | int):
        return str(value)
    return ", ".join(name for name, _ in _items(value))
