"""What came of attacks is on disk as they end: the next run goes on, as one run would have gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from torture.course import Course, Record
from torture.verdict import Blow


def course(path: Path, *, name: str = "damage", count: int = 4, seed: int = 7, image: str = "one") -> Course:
    return Course(name, count, seed, lambda _: None, Record(path), image)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Of an earlier run, interrupted after two cases."""
    earlier = course(tmp_path / "new" / "state")
    earlier.note(1, Blow("damage 1"))
    earlier.note(2, Blow("damage 2", "no SSH"))
    return tmp_path / "new" / "state"


def test_it_goes_on_where_it_stopped(state: Path) -> None:
    later = course(state)
    assert later.left == [3, 4]
    later.note(4, Blow("damage 4", beyond=True))
    later.note(3, Blow("damage 3"))
    assert course(state).left == []
    # What came of all of them, in order.
    told = (Blow("damage 1"), Blow("damage 2", "no SSH"), Blow("damage 3"), Blow("damage 4", beyond=True))
    assert course(state).attack.blows == told


def test_more_of_them_go_on_too_and_fewer_are_those(state: Path) -> None:
    assert course(state, count=6).left == [3, 4, 5, 6]
    assert course(state, count=1).attack.blows == (Blow("damage 1"),)


@pytest.mark.parametrize("other", [{"name": "cuts"}, {"seed": 8}, {"image": "two"}])
def test_another_attack_seed_or_image_is_not_this_one(state: Path, other: dict[str, str]) -> None:
    assert course(state, **other).left == [1, 2, 3, 4]  # type: ignore[arg-type]


@pytest.mark.parametrize("cut", [b'{"attack":"damage","im', b'{"attack":"damage"}\n', b"\0\0\0\n", b"\xff\n"])
def test_a_line_that_was_cut_short_is_no_verdict(state: Path, cut: bytes) -> None:
    with state.open("ab") as file:
        file.write(cut)
    assert course(state).left == [3, 4]
    course(state).note(3, Blow("damage 3"))
    assert course(state).left == [4]


def test_seed_and_number_alone_say_what_a_case_is(tmp_path: Path) -> None:
    def number(case: int, seed: int = 7) -> float:
        return course(tmp_path / "state", seed=seed).chance(case).random()

    assert number(3) == number(3)
    assert len({number(1), number(2), number(1, seed=8)}) == 3
