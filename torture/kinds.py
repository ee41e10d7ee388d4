"""All kinds of attack: what each attacks, and with how many cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from bench.setting import Built, Setting
from skiff import pipeline
from skiff.host.files import digest
from skiff.image.disk import write_disk
from skiff.machine.qemu import Options
from skiff.model.arch import Arch
from skiff.model.firmware import Boot
from tests.vm.mirrors import mirror_for
from tests.vm.updates import boot_and_keep_key, slot_of
from torture import engine, floods, persist, refusals, storage
from torture.cache import lose_caches
from torture.course import Course, Record
from torture.cuts import cut_updates
from torture.mutations import damage_cards, two_slots

# One file more than the image that runs.
_NEXT = Path(__file__).resolve().parents[1] / "tests/vm/layers/test/next"


class Run(msgspec.Struct, frozen=True):
    """What every kind of attack gets. ``courses`` are those that it began, for the table."""

    setting: Setting
    folder: Path
    cuts: int
    mutations: int
    seed: int
    record: Record
    courses: list[Course]

    @property
    def name(self) -> str:
        """Of its machine: two runs at a time do not meet."""
        return f"torture-{self.folder.name}"

    def course(self, name: str, count: int, *attacked: Built) -> Course:
        """An attack that begins, or goes on where an earlier run on the same images stopped."""
        image = digest(" ".join(file.sha256 for built in attacked for file in built.image.artefacts))
        course = Course(name, count, self.seed, self.setting.ui.notice, self.record, image)
        self.courses.append(course)
        return course


def _updates(run: Run) -> None:
    for layer, arch in (("pc/uefi", Arch.AMD64), ("virt/qemu", Arch.ARM64)):
        setting, layers, place = run.setting, (layer, "update/signed"), run.folder / arch.value
        this, following = setting.image(*layers, arch=arch), setting.image(*layers, str(_NEXT), arch=arch)
        both = this, following
        cut = run.course(f"power cuts during updates of {arch.value}", run.cuts // 4, *both)
        refuse = run.course(f"updates of {arch.value} that have to be refused", refusals.CASES, *both)
        if not cut.left and not refuse.left:
            continue
        place.mkdir()
        slots = [
            slot_of(built.image, place / name, setting.cache)
            for name, built in (("next", following), ("this", this))
        ]
        with setting.device(this, run.name, _from_disk(run, this)) as machine:
            boot_and_keep_key(machine)
            cut_updates(machine, slots, cut)
            refusals.refuse_updates(machine, slots[0], place, refuse)


def _cards(run: Run) -> None:
    built = run.setting.image("virt/qemu", arch=Arch.ARM64)
    course = run.course("damage to the boot partition", run.mutations // 2, built)
    if not course.left:
        return
    with run.setting.device(built, run.name, _from_disk(run, built)) as machine:
        machine.boot()
        machine.wait_for_persist()
        machine.cut_power()
        damage_cards(machine, two_slots(machine, run.folder), course)


def _persist(run: Run) -> None:
    built = run.setting.image("virt/qemu", "engine/docker", "apps/crew", "core/debian")
    course = run.course("damage to persist", run.mutations // 2, built)
    if not course.left:
        return
    with run.setting.device(built, run.name) as machine:
        persist.furnish(machine, run.folder)
        persist.damage_persist(machine, run.folder, course)


def _writes(run: Run) -> None:
    for arch in (Arch.AMD64, Arch.ARM64):
        built = run.setting.image("virt/qemu", "engine/docker", arch=arch)
        cut = run.course(f"power cuts while {arch.value} starts and writes", run.cuts // 4, built)
        lose = run.course(f"power cuts with the cache of {arch.value}'s disk lost", run.cuts, built)
        if not cut.left and not lose.left:
            continue
        with run.setting.device(built, run.name) as machine:
            boot = engine.furnish(machine)
            engine.cut_writes(machine, boot, cut)
            lose_caches(machine, lose)


def _storage(run: Run) -> None:
    built = run.setting.image("virt/qemu")
    course = run.course("storage that fails", storage.CASES, built)
    if not course.left:
        return
    with run.setting.device(built, run.name) as machine:
        machine.boot()
        machine.wait_for_persist()
        storage.fail_storage(machine, course)


def _floods(run: Run) -> None:
    built = run.setting.image("virt/qemu", "engine/docker")
    course = run.course("floods", floods.CASES, built)
    if not course.left:
        return
    with run.setting.device(built, run.name) as machine:
        floods.flood(machine, course)


KINDS: Mapping[str, Callable[[Run], None]] = {
    "updates": _updates,
    "writes": _writes,
    "cards": _cards,
    "persist": _persist,
    "storage": _storage,
    "floods": _floods,
}


def _from_disk(run: Run, built: Built) -> Options:
    setting, arch = run.setting, built.image.arch
    made, _ = write_disk(run.folder / f"disk-{arch.value}", built.image, {}, setting.cache, lambda _: None)
    with mirror_for(arch) as mirror:
        firmware = pipeline.firmware_for(built.image, setting.cache, pipeline.Options(mirror), setting.ui)
    return Options(boot=Boot(firmware, made), persist_bytes=512 << 20)
