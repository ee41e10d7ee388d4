"""The verdict on attacks: its one line says what was not stood."""

from __future__ import annotations

from torture.verdict import Attack, Blow, table, verdict

STOOD = Attack("cuts", (Blow("one"), Blow("two")))
MIXED = Attack("damage", (Blow("three", beyond=True), Blow("four", "no SSH"), Blow("five")))


def test_all_stood() -> None:
    assert verdict([STOOD]) == "verdict: all 2 attacks stood"


def test_one_case_is_named() -> None:
    assert verdict([STOOD, MIXED]) == "verdict: 1 of 5 attacks not stood; damage, four: no SSH"


def test_nothing_attacked_is_no_success() -> None:
    assert verdict([Attack("cuts", ())]) == "verdict: nothing was attacked"


def test_the_table_counts() -> None:
    assert table([STOOD, MIXED]).splitlines()[2:] == [
        "| cuts | 2 | 2 | 0 | 0 |",
        "| damage | 3 | 1 | 1 | 1 |",
    ]
