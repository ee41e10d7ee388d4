"""`skiff fleet`: one command for all devices of an inventory."""

from __future__ import annotations

import click

from skiff.cli.common import print_json
from skiff.cli.fleet_push import push
from skiff.cli.fleet_work import Work, chosen_options, telling, work_options
from skiff.cli.options import Seconds, examples, json_option, ui_option
from skiff.cli.reach import Way, way_options
from skiff.host.ui import Ui
from skiff.machine import deeds
from skiff.model.fleet import Outcome


@click.group(
    epilog=examples(
        "skiff fleet status                            how all devices of hosts.toml are",
        "skiff fleet run --on kiosks -- df -h /mnt/persist",
        "skiff fleet push --wave 1,10,50%              update them in waves",
        "skiff fleet reboot --on 'kiosk-*,!kiosk-3'    restart some of them",
    )
)
def command() -> None:
    """Look after many devices at once: those of an inventory, over SSH.

    After Ctrl-C no further device begins, and those at work come to their end; a second one breaks them off.
    """


command.add_command(push)


@command.command(
    "list",
    epilog=examples(
        "skiff fleet list                      devices, where they are, their groups",
        "skiff fleet list -I hosts.ini --json  an inventory of Ansible, with all variables",
    ),
)
@chosen_options
@json_option
@ui_option
def list_(work: Work, as_json: bool, ui: Ui) -> None:
    """Show the devices of the inventory, without asking them."""
    _, hosts = work.load(ui)
    if as_json:
        print_json(hosts)
        return
    width = max(len(host.name) for host in hosts)
    for host in hosts:
        where = f"{host.user}@{host.address}{f':{host.port}' if host.port else ''}"
        words = [*host.groups, *(f"{name}={value}" for name, value in host.vars.items())]
        click.echo(f"{host.name:{width}}  {where}  {' '.join(words)}".rstrip())


@command.command(
    epilog=examples(
        "skiff fleet status                 what each device says of itself",
        "skiff fleet status --json          the same for programs",
    )
)
@work_options
@way_options
@json_option
@ui_option
def status(work: Work, way: Way, as_json: bool, ui: Ui) -> None:
    """Ask all devices how they are. The exit status is 0 when all answer, and all are well."""
    work.carry_out(lambda host, remote, steps: deeds.status(remote), way, ui, telling(as_json))


@command.command(
    epilog=examples(
        "skiff fleet run -- uptime                     on all devices",
        "skiff fleet run --on kiosks -- reload-page    on those of a group",
        "skiff fleet run -- sh -c 'echo $SKIFF_HOST'   variables of the inventory are its environment",
    )
)
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- WORDS…")
@click.option(
    "--timeout",
    type=Seconds(min=0),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="For each device.",
)
@work_options
@way_options
@json_option
@ui_option
def run(words: tuple[str, ...], timeout: float, work: Work, way: Way, as_json: bool, ui: Ui) -> None:
    """Run a program on all devices. WORDS reach it exactly as they are here.

    Each line that it prints is shown with the device's name before it, once all have ended.
    """
    work.carry_out(
        lambda host, remote, steps: deeds.run(remote, words, {"SKIFF_HOST": host.name, **host.vars}, timeout),
        way,
        ui,
        telling(True) if as_json else _print_output,
    )


def _print_output(outcomes: dict[str, Outcome]) -> None:
    width = max(len(name) for name in outcomes)
    for name, outcome in outcomes.items():
        for line in deeds.lines(outcome):
            click.echo(f"{name:{width}}  {line}".rstrip())


@command.command(
    epilog=examples(
        "skiff fleet reboot                  one, then a quarter of all at a time",
        "skiff fleet reboot --wave 100%      all at once",
    )
)
@click.option(
    "--patience",
    type=Seconds(min=0),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for each.",
)
@work_options
@way_options
@json_option
@ui_option
def reboot(patience: float, work: Work, way: Way, as_json: bool, ui: Ui) -> None:
    """Restart devices in waves. One has come back when it answers, and is as well as before.

    Without other words, it is one first, then a quarter of all at a time, and the first failure ends it.
    """
    work.carry_out(
        lambda host, remote, steps: deeds.reboot(remote, patience, steps),
        way,
        ui,
        telling(as_json),
        changes=True,
    )
