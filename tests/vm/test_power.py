"""Power goes at random moments, and disks lie and rot: SSH answers, and no container is corrupt.

`make torture` does it as often as one likes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.vm.driver import Device
from torture.cache import lose_caches
from torture.course import Course
from torture.engine import cut_writes, furnish
from torture.persist import damage_persist
from torture.verdict import verdict

MakeDevice = Callable[..., Device]

CUTS = int(os.environ.get("SKIFF_CUTS", "20"))
SEED = int(os.environ.get("SKIFF_SEED", "1"))


@pytest.mark.timeout(90 * CUTS + 600)
def test_power_cuts_at_random_moments(device: MakeDevice, tmp_path: Path) -> None:
    machine = device("virt/qemu", "engine/docker")
    boot = furnish(machine)
    kinds = (("cuts", CUTS), ("damage", 4), ("lost caches", CUTS))
    cuts, damage, lost = (Course(name, count, SEED, print) for name, count in kinds)
    cut_writes(machine, boot, cuts)
    damage_persist(machine, tmp_path, damage)
    lose_caches(machine, lost)
    assert verdict([cuts.attack, damage.attack, lost.attack]) == f"verdict: all {2 * CUTS + 4} attacks stood"
