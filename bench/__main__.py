"""`python -m bench`: measure, write down, print the table."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
import msgspec

from bench import (
    boards,
    boot,
    builds,
    cluster,
    containers,
    core,
    cpus,
    crew,
    fleet,
    kernel,
    memory,
    mkosi,
    port,
    port_build,
    sizes,
    slim,
    source,
    updates,
)
from bench.setting import Setting, host_facts, machines_end_too
from bench.table import Figure, Record, load, markdown, merged, number, plain, reason, save
from skiff.host.dirs import cache_dir
from skiff.host.errors import UserError
from skiff.host.ui import Ui
from tests.vm.driver import HarnessError, ProductFailure

RESULTS = Path(__file__).resolve().parent.parent / "bench-results" / "latest.json"


class Measurement(msgspec.Struct, frozen=True):
    """One of the names that can be given on the command line."""

    figures: tuple[Figure, ...]
    measure: Callable[[Setting], Iterator[Figure]]


MEASUREMENTS = {
    "sizes": Measurement(sizes.FIGURES, sizes.measure),
    "memory": Measurement(memory.FIGURES, memory.measure),
    "containers": Measurement(containers.FIGURES, containers.measure),
    "core": Measurement(core.FIGURES, core.measure),
    "crew": Measurement(crew.FIGURES, crew.measure),
    "boot": Measurement(boot.FIGURES, boot.measure),
    "cpus": Measurement(cpus.FIGURES, cpus.measure),
    "boards": Measurement(boards.FIGURES, boards.measure),
    "updates": Measurement(updates.FIGURES, updates.measure),
    "fleet": Measurement(fleet.FIGURES, fleet.measure),
    "cluster": Measurement(cluster.FIGURES, cluster.measure),
    "builds": Measurement(builds.FIGURES, builds.measure),
    "port": Measurement(port.FIGURES, port.measure),
    "port-build": Measurement(port_build.FIGURES, port_build.measure),
    "kernel": Measurement(kernel.FIGURES, kernel.measure),
    "slim": Measurement(slim.FIGURES, slim.measure),
    "source": Measurement(source.FIGURES, source.measure),
    "mkosi": Measurement(mkosi.FIGURES, mkosi.measure),
}
ORDER = [figure.key for item in MEASUREMENTS.values() for figure in item.figures]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, type=click.Choice(list(MEASUREMENTS)))
@click.option("--quick", is_flag=True, help="Repeat less often.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the table as Markdown.")
@click.option("--last", is_flag=True, help="Measure nothing, print what was measured last.")
def main(names: tuple[str, ...], quick: bool, as_markdown: bool, last: bool) -> None:
    """Measure the figures NAMES, or all, and print them. They are kept in bench-results/latest.json.

    A figure that is not measured now keeps what was measured last.
    """
    machines_end_too()
    failed = False
    if not last:
        setting = Setting(cache_dir(), quick, Ui())
        for name in names or MEASUREMENTS:
            figures, whole = _carry_out(MEASUREMENTS[name], setting, name)
            failed = failed or not whole
            _write_down(figures, quick, host_facts())
    table = [record.figure for record in load(RESULTS)]
    click.echo(markdown(table) if as_markdown else plain(table))
    sys.exit(1 if failed else 0)


def _carry_out(item: Measurement, setting: Setting, name: str) -> tuple[list[Figure], bool]:
    """The measurement's figures, and whether all could be measured."""
    started = time.monotonic()
    setting.ui.notice(f"== {name}")
    done: dict[str, Figure] = {}
    problem = ""
    try:
        for figure in item.measure(setting):
            done[figure.key] = figure
            value = "-" if figure.value is None else number(figure.value, figure.unit)
            setting.ui.notice(f"{figure.what}: {value} ({figure.note})")
    except (UserError, ProductFailure, HarnessError) as error:
        setting.ui.warn(f"{name}: {error}")
        problem = reason(error)
    setting.ui.notice(f"== {name}: {time.monotonic() - started:.0f} s")
    missing = [
        msgspec.structs.replace(figure, note=f"could not be measured: {problem}")
        for figure in item.figures
        if figure.key not in done
    ]
    return [*done.values(), *missing], not missing


def _write_down(figures: Sequence[Figure], quick: bool, host: dict[str, str]) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    new = [Record(figure, figure.reached, now, quick, host) for figure in figures]
    save(RESULTS, merged(load(RESULTS), new, ORDER))


main()
