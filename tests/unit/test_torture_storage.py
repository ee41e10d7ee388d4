"""A device that did not stand one way in which a disk fails is started again for the next."""

from __future__ import annotations

from typing import cast

import pytest

from tests.vm.driver import Device, ProductFailure
from torture import storage
from torture.course import Course


class Machine:
    """As much of a device as is asked. It is well until a disk fails that it does not stand."""

    well = True

    def is_running(self) -> bool:
        return True

    def cut_power(self) -> None:
        self.well = False

    def boot(self) -> None:
        assert not self.well
        self.well = True

    def wait_for_persist(self) -> None:
        assert self.well


def test_the_next_way_finds_a_device_that_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def first(machine: Machine) -> None:
        machine.well = False
        raise ProductFailure("no SSH")

    def second(machine: Machine) -> None:
        assert machine.well, "it is not well"

    monkeypatch.setattr(storage, "_WAYS", (("hangs", first), ("vanishes", second)))
    course = Course("storage", 2, 1, lambda _: None)
    storage.fail_storage(cast(Device, Machine()), course)
    assert [blow.problem for blow in course.attack.blows] == ["no SSH", ""]
