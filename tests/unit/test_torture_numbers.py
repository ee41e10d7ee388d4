"""What a container wrote before a cut: each number once, in order, and nothing else."""

from __future__ import annotations

import pytest

from torture.engine import newest_of


def test_the_newest_number() -> None:
    assert newest_of("3\n4\n5\n") == 5


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "something else"),
        ("3\n5\n", "gaps"),
        ("3\n3\n", "gaps"),
        ("3\n\0\0\n", "something else"),
        ("3\nx4\n", "something else"),
    ],
)
def test_what_is_lost_or_not_a_number(text: str, says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        newest_of(text)
