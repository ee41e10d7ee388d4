"""A few of each attack; `make torture` carries out as many as one likes."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.vm.conftest import Images
from tests.vm.driver import Device
from tests.vm.updates import slot_of
from torture.cuts import cut_updates
from torture.mutations import damage_cards, two_slots
from torture.refusals import refuse_updates
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
    cuts = cut_updates(machine, slots, 2, random.Random(1), print)
    refused = refuse_updates(machine, slots[0], tmp_path, print)
    assert verdict([cuts, refused]) == "verdict: all 9 attacks stood"


@pytest.mark.timeout(900)
def test_damaged_cards(from_disk: MakeDevice, tmp_path: Path) -> None:
    machine = from_disk("virt/qemu", "--arch", "arm64")
    machine.boot()
    machine.wait_for_persist()
    machine.cut_power()
    attack = damage_cards(machine, two_slots(machine, tmp_path), 3, random.Random(1), print)
    assert verdict([attack]) == "verdict: all 3 attacks stood"
