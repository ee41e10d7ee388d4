"""`python -m torture`: carry out the attacks, print a table, and the verdict last."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from bench.setting import Setting, machines_end_too
from skiff.host.dirs import cache_dir
from skiff.host.errors import UserError
from skiff.host.ui import Ui
from skiff.machine.qmp import QmpError
from tests.vm.driver import HarnessError
from torture.course import Course, Record
from torture.kinds import KINDS, Run
from torture.verdict import table, verdict


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--cuts", default=20, show_default=True, help="Power cuts, a quarter for each kind of cut.")
@click.option("--mutations", default=20, show_default=True, help="Damage, half to boot partitions.")
@click.option("--seed", default=1, show_default=True, help="Other moments and places.")
@click.option("--state", type=click.Path(path_type=Path), help="File that keeps what came of each attack.")
@click.option("--fresh", is_flag=True, help="Forget what earlier runs did.")
@click.argument("kinds", nargs=-1, type=click.Choice(list(KINDS)))
def main(cuts: int, mutations: int, seed: int, state: Path | None, fresh: bool, kinds: Sequence[str]) -> None:
    """Attack machines: by all KINDS of attack, or by those that are named.

    updates: cuts during updates, and updates to refuse, on UEFI and with U-Boot on arm64.
    writes: cuts during starts and while an engine writes, on amd64 and arm64; and, of as many cuts as there
    are in all, what is left when the disk lost its cache.
    cards, persist: damage. storage: a disk that fails while the device runs. floods: of whatever there is.

    It may be interrupted: the same command goes on from there, as long as the images are the same.
    """
    machines_end_too()
    setting = Setting(cache_dir(), False, Ui())
    setting.scratch.mkdir(parents=True, exist_ok=True)
    path = state or setting.scratch / "torture.jsonl"
    if fresh:
        path.unlink(missing_ok=True)
    courses: list[Course] = []
    failures = []
    status = 0
    for kind in kinds or KINDS:
        with tempfile.TemporaryDirectory(dir=setting.scratch) as folder:
            try:
                KINDS[kind](Run(setting, Path(folder), cuts, mutations, seed, Record(path), courses))
            # The other kinds may go well.
            except (AssertionError, HarnessError, QmpError, UserError) as error:
                failures.append(f"{kind}: {error}")
                setting.ui.notice(failures[-1])
                status = 1
            except KeyboardInterrupt:
                failures.append("interrupted, the same command goes on from here")
                status = 130
                break
    attacks = [course.attack for course in courses]
    click.echo(table(attacks))
    click.echo(verdict(attacks, failures))
    sys.exit(status or any(attack.fallen for attack in attacks))


if __name__ == "__main__":
    main()
