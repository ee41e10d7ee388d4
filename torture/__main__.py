"""`python -m torture`: carry out the attacks, print a table, and the verdict last."""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import msgspec

from bench.setting import Built, Setting, machines_end_too
from skiff import pipeline
from skiff.host.dirs import cache_dir
from skiff.host.ui import Ui
from skiff.image.disk import write_disk
from skiff.machine.qemu import Options
from skiff.model.arch import Arch
from skiff.model.firmware import Boot
from tests.vm.mirrors import mirror_for
from tests.vm.updates import slot_of
from torture import engine, persist
from torture.cache import lose_caches
from torture.cuts import cut_updates
from torture.floods import flood
from torture.mutations import damage_cards, two_slots
from torture.refusals import refuse_updates
from torture.storage import fail_storage
from torture.verdict import Attack, table, verdict

# One file more than the image that runs.
_NEXT = Path(__file__).resolve().parents[1] / "tests/vm/layers/test/next"


class _Run(msgspec.Struct, frozen=True):
    """What every kind of attack gets."""

    setting: Setting
    folder: Path
    cuts: int
    mutations: int
    seed: int

    @property
    def name(self) -> str:
        """Of its machine: two runs at a time do not meet."""
        return f"torture-{self.folder.name}"

    def chance(self) -> random.Random:
        """The same for each kind, whatever was carried out before it."""
        return random.Random(self.seed)


def _updates(run: _Run) -> Iterator[Attack]:
    setting, say = run.setting, run.setting.ui.notice
    for layer, arch in (("pc/uefi", Arch.AMD64), ("virt/qemu", Arch.ARM64)):
        layers = (layer, "update/signed")
        this, following = setting.image(*layers, arch=arch), setting.image(*layers, str(_NEXT), arch=arch)
        place = run.folder / arch.value
        place.mkdir()
        slots = [
            slot_of(built.image, place / name, setting.cache)
            for name, built in (("next", following), ("this", this))
        ]
        with setting.device(this, run.name, _from_disk(run, this)) as machine:
            yield cut_updates(machine, slots, run.cuts // 4, run.chance(), say)
            yield refuse_updates(machine, slots[0], place, say)


def _cards(run: _Run) -> Iterator[Attack]:
    built = run.setting.image("virt/qemu", arch=Arch.ARM64)
    with run.setting.device(built, run.name, _from_disk(run, built)) as machine:
        machine.boot()
        machine.wait_for_persist()
        machine.cut_power()
        pristine = two_slots(machine, run.folder)
        yield damage_cards(machine, pristine, run.mutations // 2, run.chance(), run.setting.ui.notice)


def _persist(run: _Run) -> Iterator[Attack]:
    built = run.setting.image("virt/qemu", "engine/docker", "apps/crew", "core/debian")
    with run.setting.device(built, run.name) as machine:
        persist.furnish(machine, run.folder)
        yield persist.damage_persist(
            machine, run.folder, run.mutations // 2, run.chance(), run.setting.ui.notice
        )


def _writes(run: _Run) -> Iterator[Attack]:
    say = run.setting.ui.notice
    for arch in (Arch.AMD64, Arch.ARM64):
        built = run.setting.image("virt/qemu", "engine/docker", arch=arch)
        with run.setting.device(built, run.name) as machine:
            boot = engine.furnish(machine)
            yield engine.cut_writes(machine, boot, run.cuts // 4, run.chance(), say)
            yield lose_caches(machine, run.cuts, run.chance(), say)


def _storage(run: _Run) -> Iterator[Attack]:
    with run.setting.device(run.setting.image("virt/qemu"), run.name) as machine:
        machine.boot()
        machine.wait_for_persist()
        yield fail_storage(machine, run.setting.ui.notice)


def _floods(run: _Run) -> Iterator[Attack]:
    with run.setting.device(run.setting.image("virt/qemu", "engine/docker"), run.name) as machine:
        yield flood(machine, run.setting.ui.notice)


_KINDS = {
    "updates": _updates,
    "writes": _writes,
    "cards": _cards,
    "persist": _persist,
    "storage": _storage,
    "floods": _floods,
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--cuts", default=20, show_default=True, help="Power cuts, a quarter for each kind of cut.")
@click.option("--mutations", default=20, show_default=True, help="Damage, half to boot partitions.")
@click.option("--seed", default=1, show_default=True, help="Other moments and places.")
@click.argument("kinds", nargs=-1, type=click.Choice(list(_KINDS)))
def main(cuts: int, mutations: int, seed: int, kinds: Sequence[str]) -> None:
    """Attack machines: by all KINDS of attack, or by those that are named.

    updates: cuts during updates, and updates to refuse, on UEFI and with U-Boot on arm64.
    writes: cuts during starts and while an engine writes, on amd64 and arm64; and, of as many cuts as there
    are in all, what is left when the disk lost its cache.
    cards, persist: damage. storage: a disk that fails while the device runs. floods: of whatever there is.
    """
    machines_end_too()
    setting = Setting(cache_dir(), False, Ui())
    setting.scratch.mkdir(parents=True, exist_ok=True)
    attacks: list[Attack] = []
    for kind in kinds or _KINDS:
        with tempfile.TemporaryDirectory(dir=setting.scratch) as folder:
            attacks += _KINDS[kind](_Run(setting, Path(folder), cuts, mutations, seed))
    click.echo(table(attacks))
    click.echo(verdict(attacks))
    sys.exit(1 if any(attack.fallen for attack in attacks) else 0)


def _from_disk(run: _Run, built: Built) -> Options:
    setting, arch = run.setting, built.image.arch
    made, _ = write_disk(run.folder / f"disk-{arch.value}", built.image, {}, setting.cache, lambda _: None)
    with mirror_for(arch) as mirror:
        firmware = pipeline.firmware_for(built.image, setting.cache, pipeline.Options(mirror), setting.ui)
    return Options(boot=Boot(firmware, made), persist_bytes=512 << 20)


main()
