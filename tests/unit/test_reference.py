"""The generated reference pages are as the code says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from skiff.__main__ import main
from tools import json_reference, reference


def test_pages_are_up_to_date() -> None:
    assert reference.stale() == [], "run `make docs`"


def test_every_verb_with_json_tells_what_it_prints() -> None:
    assert sorted(json_reference.verbs()) == sorted(json_reference.ANSWERS)


@pytest.mark.parametrize("words", [["layers"], ["show", "virt/qemu"], ["configure", "virt/qemu"], ["status"]])
def test_what_is_told_of_json_is_printed(
    words: list[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    for key in said[0] if isinstance(said, list) else said:
        assert f"`{key}`" in json_reference.ANSWERS[words[0]]


def test_every_key_is_described() -> None:
    rows = [line for line in reference.layer_page().splitlines() if line.startswith("| `")]
    assert len(rows) > 20
    assert all(line.split(" | ")[-1].strip(" |") for line in rows)
