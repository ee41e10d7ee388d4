"""What the verbs for many devices share: which devices, in what order, and what is told of them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from skiff.cli.common import print_json
from skiff.cli.options import Verb, with_options
from skiff.cli.reach import Way
from skiff.fleet import inventory, table
from skiff.fleet.roll import Roll, judge
from skiff.fleet.waves import check, ordered
from skiff.host.errors import UserError
from skiff.host.run import Group
from skiff.host.ui import Ui
from skiff.machine.remote import Remote
from skiff.model.fleet import Answer, Host, Inventory, Outcome

# What is done with a device that is reached so; its steps are told to the Ui.
Deed = Callable[[Host, Remote, Ui], Answer]


class Work(msgspec.Struct, frozen=True):
    """Which devices the command line means, and how work goes over them. None: not said."""

    file: Path
    words: tuple[str, ...] = ()
    wave: str | None = None
    failures: str | None = None
    jobs: int | None = None

    def load(self, ui: Ui) -> tuple[Inventory, tuple[Host, ...]]:
        """The inventory, and the devices of it that are meant. Raises UserError before any work is done."""
        check(self.wave, self.failures, self.jobs)
        found = inventory.load(self.file)
        for notice in found.notices:
            ui.notice(notice)
        return found, inventory.select(found, self.words)

    def carry_out(
        self,
        deed: Deed,
        way: Way,
        ui: Ui,
        show: Callable[[dict[str, Outcome]], None],
        *,
        changes: bool = False,
        chosen: tuple[Inventory, tuple[Host, ...]] | None = None,
    ) -> None:
        """Do it with each device, and show what became of them.

        Work that ``changes`` devices goes in waves and ends with the first failure, if nobody says otherwise.
        Raises UserError when not all are well, KeyboardInterrupt after Ctrl-C.
        """
        found, hosts = chosen or self.load(ui)
        order = ordered(found, hosts, self.wave, self.failures, self.jobs, changes=changes)
        group = Group()
        with table.shown(hosts, ui) as watch:
            roll = Roll(
                order, lambda host, say: deed(host, way.host(host, group), ui.relayed(say)), watch, group
            )
            outcomes = roll.go()
        show(outcomes)
        if roll.interrupts:
            raise KeyboardInterrupt
        judge(outcomes)


def telling(as_json: bool) -> Callable[[dict[str, Outcome]], None]:
    """Prints what became of the devices: a row for each, or JSON."""
    return _print_json if as_json else _print_rows


def _print_json(outcomes: dict[str, Outcome]) -> None:
    print_json({"devices": outcomes})


def _print_rows(outcomes: dict[str, Outcome]) -> None:
    width = max(len(name) for name in outcomes)
    for name, outcome in outcomes.items():
        click.echo(f"{name:{width}}  {outcome.state:9}  {outcome.text}".rstrip())


_ON = click.option(
    "--on",
    multiple=True,
    metavar="WHICH",
    help="Names, groups, patterns, variable=value; with ! before it, not these. [default: all]",
)
_ORDER = (
    _ON,
    click.option(
        "--wave",
        metavar="SIZES",
        help="Devices of one wave after the other: 1,10,50%; the last size holds until the end.",
    ),
    click.option("--max-failures", metavar="N|N%", help="With so many failures no further device begins."),
    click.option(
        "-j", "--jobs", type=int, metavar="N", help="So many devices at the same time. [default: 16]"
    ),
)
_INVENTORY = click.option(
    "-I",
    "--inventory",
    "hosts",
    type=click.Path(path_type=Path),
    envvar="SKIFF_INVENTORY",
    default="hosts.toml",
    metavar="FILE",
    help="The devices: TOML, or an inventory of Ansible. [default: SKIFF_INVENTORY, else hosts.toml]",
)


def chosen_options(verb: Verb) -> Verb:
    """`--inventory` and `--on`, as ``work: Work`` without an order."""

    @functools.wraps(verb)
    def wrapper(*args: Any, hosts: Path, on: tuple[str, ...], **kwargs: Any) -> Any:
        return verb(*args, work=Work(hosts, on), **kwargs)

    return _INVENTORY(_ON(wrapper))


def work_options(verb: Verb) -> Verb:
    """`--inventory`, `--on` and what is said of the order, as ``work: Work``."""
    return _INVENTORY(all_options(verb))


def all_options(verb: Verb) -> Verb:
    """The same with another option that gives ``hosts``; without it, None."""

    @functools.wraps(verb)
    def wrapper(
        *args: Any,
        hosts: Path | None,
        on: tuple[str, ...],
        wave: str | None,
        max_failures: str | None,
        jobs: int | None,
        **kwargs: Any,
    ) -> Any:
        if hosts is None and (on or wave or max_failures or jobs):
            raise UserError("--on, --wave, --max-failures and --jobs are for many devices", hint="--all FILE")
        work = Work(hosts, on, wave, max_failures, jobs) if hosts is not None else None
        return verb(*args, work=work, **kwargs)

    return with_options(wrapper, *_ORDER)
