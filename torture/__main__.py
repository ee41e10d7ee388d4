"""`python -m torture`: carry out the attacks, print a table, and the verdict last."""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

import click

from bench.setting import Built, Setting, build, machines_end_too
from skiff import pipeline
from skiff.host.dirs import cache_dir
from skiff.host.errors import UserError
from skiff.host.ui import Ui
from skiff.image.assemble import load
from skiff.image.disk import write_disk
from skiff.machine.qemu import Options
from skiff.model.arch import Arch
from skiff.model.firmware import Boot
from skiff.model.workspace import Workspace
from tests.vm.mirrors import mirror_for
from tests.vm.updates import slot_of
from torture.cuts import cut_updates
from torture.floods import flood
from torture.mutations import damage_cards, two_slots
from torture.refusals import refuse_updates
from torture.storage import fail_storage
from torture.verdict import Attack, table, verdict

_NEXT = Path(__file__).resolve().parents[1] / "tests/vm/layers/test/next"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--cuts", default=20, show_default=True, help="Power cuts during updates.")
@click.option("--mutations", default=20, show_default=True, help="Damaged boot partitions.")
@click.option("--seed", default=1, show_default=True, help="Other moments and places.")
def main(cuts: int, mutations: int, seed: int) -> None:
    """Attack machines: cuts and bad updates on UEFI, damage with U-Boot on arm64, floods, failing storage."""
    machines_end_too()
    setting = Setting(cache_dir(), False, Ui())
    setting.scratch.mkdir(parents=True, exist_ok=True)
    attacks: list[Attack] = []
    with tempfile.TemporaryDirectory(dir=setting.scratch) as folder:
        attacks += _updates(setting, Path(folder), cuts, random.Random(seed))
        attacks += _damage(setting, Path(folder), mutations, random.Random(seed))
        attacks += _storage(setting)
        attacks += _floods(setting)
    click.echo(table(attacks))
    click.echo(verdict(attacks))
    sys.exit(1 if any(attack.fallen for attack in attacks) else 0)


def _updates(setting: Setting, folder: Path, count: int, chance: random.Random) -> list[Attack]:
    this, following = setting.image("pc/uefi", "update/signed"), _next(setting)
    slots = [
        slot_of(built.image, folder / name, setting.cache)
        for name, built in (("next", following), ("this", this))
    ]
    with setting.device(this, "torture", _from_disk(setting, this)) as machine:
        return [
            cut_updates(machine, slots, count, chance, setting.ui.notice),
            refuse_updates(machine, slots[0], folder, setting.ui.notice),
        ]


def _damage(setting: Setting, folder: Path, count: int, chance: random.Random) -> list[Attack]:
    built = setting.image("virt/qemu", arch=Arch.ARM64)
    with setting.device(built, "torture", _from_disk(setting, built)) as machine:
        machine.boot()
        machine.wait_for_persist()
        machine.cut_power()
        return [damage_cards(machine, two_slots(machine, folder), count, chance, setting.ui.notice)]


def _storage(setting: Setting) -> list[Attack]:
    with setting.device(setting.image("virt/qemu"), "torture") as machine:
        machine.boot()
        machine.wait_for_persist()
        return [fail_storage(machine, setting.ui.notice)]


def _floods(setting: Setting) -> list[Attack]:
    with setting.device(setting.image("virt/qemu", "engine/docker"), "torture") as machine:
        return [flood(machine, setting.ui.notice)]


def _next(setting: Setting) -> Built:
    """The image of a PC with one file more."""
    workspace = Workspace("torture", setting.scratch / "images" / "torture")
    with setting.ui.step("the next image"):
        build(workspace, setting.cache, "pc/uefi", "update/signed", str(_NEXT))
    image = load(workspace.image)
    if image is None:
        raise UserError(f"{workspace.image}: built, but there is no image")
    return Built(image, workspace)


def _from_disk(setting: Setting, built: Built) -> Options:
    made, _ = write_disk(setting.empty("torture-disk"), built.image, {}, setting.cache, lambda _: None)
    with mirror_for(built.image.arch) as mirror:
        firmware = pipeline.firmware_for(built.image, setting.cache, pipeline.Options(mirror), setting.ui)
    return Options(boot=Boot(firmware, made), persist_bytes=512 << 20)


main()
