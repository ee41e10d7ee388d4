"""What planning's threads ask of registries and of the engine at the same time."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import pytest

from skiff.host.errors import UserError
from skiff.model.port import Platform, Reference
from skiff.port.base import Bases
from skiff.port.engine import Engine
from skiff.port.lookup import Images
from skiff.port.reference import parse_reference
from skiff.port.registry import Registry


class Asked:
    """A registry that takes a moment and may fail, and an engine; both count what they are asked."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.questions: list[str] = []

    def manifests(self, reference: Reference) -> dict[Platform, str]:
        self.questions.append(reference.short)
        time.sleep(0.01)
        if self.fails:
            raise UserError("e.example does not answer")
        return {Platform(): "sha256:0"}

    def names(self) -> frozenset[str]:
        self.questions.append("names")
        time.sleep(0.01)
        return frozenset({"one:1"})


def images(asked: Asked, warn: list[str], tmp_path: Path) -> Images:
    bases = Bases(tmp_path, pytest.fail)
    return Images(cast(Registry, asked), bases, tmp_path, warn.append, cast(Engine, asked))


@pytest.mark.parametrize("fails", [True, False])
def test_a_registry_that_is_silent_is_asked_once(tmp_path: Path, fails: bool) -> None:
    asked, told = Asked(fails), list[str]()
    lookup = images(asked, told, tmp_path)
    names = [parse_reference(f"e.example/{number}:1") for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lookup.platforms, names))
    questions = [name for name in asked.questions if name.startswith("e.example")]
    assert (len(questions), len(told)) == ((1, 1) if fails else (8, 0))
    assert found == [None if fails else (Platform(),)] * 8
    # What the engine has is asked for once, too.
    assert asked.questions.count("names") == 1
