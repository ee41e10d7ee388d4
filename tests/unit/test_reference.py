"""The generated reference pages are as the code says."""

from __future__ import annotations

from tools import reference


def test_pages_are_up_to_date() -> None:
    assert reference.stale() == [], "run `make docs`"


def test_every_key_is_described() -> None:
    rows = [line for line in reference.layer_page().splitlines() if line.startswith("| `")]
    assert len(rows) > 20
    assert all(line.split(" | ")[-1].strip(" |") for line in rows)
