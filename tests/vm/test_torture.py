"""A few of each attack; `make torture` carries out as many as one likes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.vm.conftest import Images
from tests.vm.driver import Device
from tests.vm.updates import boot_and_keep_key, slot_of
from torture.course import Course
from torture.cuts import cut_updates
from torture.mutations import damage_cards, two_slots
from torture.refusals import CASES, refuse_updates
from torture.verdict import verdict

MakeDevice = Callable[..., Device]

LAYERS = str(Path(__file__).parent / "layers")


@pytest.mark.timeout(900)
def test_cut_and_bad_updates(from_disk: MakeDevice, images: Images, tmp_path: Path) -> None:
    machine = from_disk("pc/uefi", "update/signed")
    next_image = images.build("pc/uefi", "update/signed", "test/next", "--layers-dir", LAYERS)
    slots = [
        slot_of(image, tmp_path / name, images.cache)
        for name, image in (("next", next_image), ("this", machine.image))
    ]
    cuts, refused = Course("cuts", 2, 1, print), Course("refusals", CASES, 1, print)
    boot_and_keep_key(machine)
    cut_updates(machine, slots, cuts)
    refuse_updates(machine, slots[0], tmp_path, refused)
    assert verdict([cuts.attack, refused.attack]) == "verdict: all 9 attacks stood"


@pytest.mark.timeout(900)
def test_damaged_cards(from_disk: MakeDevice, tmp_path: Path) -> None:
    machine = from_disk("virt/qemu", "--arch", "arm64")
    machine.boot()
    machine.wait_for_persist()
    machine.cut_power()
    course = Course("damage", 3, 1, print)
    damage_cards(machine, two_slots(machine, tmp_path), course)
    assert verdict([course.attack]) == "verdict: all 3 attacks stood"
