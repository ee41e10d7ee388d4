"""The reference page of what `--json` prints, from the types of the code."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin

import click
import msgspec

from skiff.cli import cli
from skiff.fleet.discover import Found
from skiff.image.audit import Finding
from skiff.image.growth import Sizes
from skiff.layers.imported import PartReport
from skiff.machine.boot_log import Boot
from skiff.machine.flash import Written
from skiff.machine.push import Done
from skiff.machine.report import Report
from skiff.machine.slots import Slots
from skiff.model.config import Config
from skiff.model.disk import DiskImage
from skiff.model.fleet import Host, Outcome
from skiff.model.image import Image, PackageFact, PartFact
from skiff.model.packages import PackageSet
from skiff.model.ported import Ported
from skiff.model.recipe import Recipe
from skiff.port.show import Told

_LIST = "a list of tables: "
_OF_DEVICES = "`devices`, by each one's name a table: "


def _keys(kind: Any) -> str:
    """The keys of a type, with those of tables in them."""
    return ", ".join(_told(field.name, field.type) for field in msgspec.structs.fields(kind))


def _told(name: str, kind: Any) -> str:
    inner = next(iter(_tables(kind)), None)
    # The nodes of a plan hold more than fits here.
    if inner is None or len(msgspec.structs.fields(inner)) > 12:
        return f"`{name}`"
    named = ", ".join(f"`{field.name}`" for field in msgspec.structs.fields(inner))
    return f"`{name}` ({named})"


def _tables(kind: Any) -> Iterator[Any]:
    """Tables that a value of a type is, or holds. Those that are written as lists have no keys."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if not kind.__struct_config__.array_like:
            yield kind
    elif get_origin(kind) in (tuple, list, dict, Union, types.UnionType):
        for inner in get_args(kind):
            yield from _tables(inner)


def _more(kind: Any, *names: str) -> str:
    return ", ".join([_keys(kind), *(f"`{name}`" for name in names)])


# What each verb prints with `--json`.
ANSWERS = {
    "layers": _LIST + "`name`, `description`, `path`, `requires`, `conflicts`, `arch`, `listed`, `chosen`",
    "show": _keys(Recipe) + "; with `--why` " + _LIST + "`key`, `value`, `layer`",
    "configure": f"`workspace`, `recipe_layers`, `config`: {_keys(Config)}",
    "lock": _keys(PackageSet) + ", as in `lock.json`",
    "build": _keys(Image) + ", as in `image/image.json`",
    "disk": _more(DiskImage, "new"),
    "flash": _more(Written, "persist_kept", "ejected")
    + "; with `--verify-only` `path`, `image`; without a device "
    + _LIST
    + "`path`, `model`, `bytes`, `transport`, `refused`",
    "run": _keys(Report),
    "status": _keys(Report),
    "push": _keys(Done) + "; with `--all` as `fleet push`",
    "rollback": _keys(Done),
    "fleet list": _LIST + _keys(Host),
    **{f"fleet {verb}": _OF_DEVICES + _keys(Outcome) for verb in ("status", "run", "reboot", "push")},
    "discover": _LIST + _keys(Found),
    "slots": _keys(Slots),
    "size": f"{_more(Sizes)}, {_told('parts', PartFact)}; with `--against` `by`, `before`, `after`, `grown`, "
    "`rows` (`name`, `before`, `after`, `note`, `grown`)",
    "sbom": _LIST + _keys(PackageFact) + "; with `--cyclonedx` a document of that form",
    "audit": _LIST + _keys(Finding),
    "boot-chart": _keys(Boot),
    "import-skiffos": f"`layer`, {_told('parts', PartReport)}",
    "port": _keys(Ported) + "; with `--plan` " + _keys(Told),
}


def verbs() -> list[str]:
    """Every verb that has `--json`."""
    root = click.Context(cli)
    found = []
    for name in cli.list_commands(root):
        command = cli.get_command(root, name)
        assert command is not None
        inner = command.commands if isinstance(command, click.Group) else {}
        for word, one in {"": command, **inner}.items():
            if any("--json" in option.opts for option in one.params):
                found.append(f"{name} {word}".strip())
    return found


def page() -> str:
    """What stands below the head of docs/reference/json.md."""
    rows = ["| verb | what it prints |", "| --- | --- |"]
    rows += [f"| `{verb}` | {ANSWERS[verb]} |" for verb in verbs()]
    return "\n".join(rows)
