"""A machine that did not come back from a cut: the next cut finds a new one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.vm.driver import Device, HarnessError, ProductFailure
from torture import cuts
from torture.course import Course


class Machine:
    """As much of a device as is asked. It does not come back from the first cut, until its card is new."""

    def __init__(self, card: Path) -> None:
        self.files = SimpleNamespace(card=card)
        self.on = True
        card.touch()

    def is_running(self) -> bool:
        return self.on

    def hold_for(self, seconds: float) -> None:
        pass

    def cut_power(self) -> None:
        if not self.on:
            raise HarnessError("it does not run")
        self.on = False

    def boot(self) -> None:
        self.on = True
        if self.files.card.exists():
            raise ProductFailure("no SSH")

    def wait_for_persist(self) -> None:
        pass

    def succeed(self, command: str) -> str:
        return "skiff.slot=a"


def test_the_next_cut_has_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("push", "remote"):
        monkeypatch.setattr(cuts, name, lambda *_: None)
    monkeypatch.setattr(cuts, "whole_slots", lambda _: ["a"])
    course = Course("cuts", 3, 1, lambda _: None)
    cuts.cut_updates(cast(Device, Machine(tmp_path / "card")), [tmp_path], course)
    assert [blow.problem for blow in course.attack.blows] == ["no SSH", "", ""]
