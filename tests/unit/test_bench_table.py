"""The benchmark's figures as a table, Markdown and JSON, and its search by halves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.memory import smallest
from bench.table import Figure, Record, load, markdown, merged, plain, reason, save
from skiff.host.run import CommandError

GOOD = Figure("size", "size of the image", "MB", 22, 21.234, note="all of it")
BAD = Figure("time", "time to SSH", "×", 2.0, 2.254)
RIVAL = Figure("rival", "build", "s", 80.0, 12.3, rival="other")
UNKNOWN = Figure("unknown", "build", "s", rival="other", note="other could not be had")


def record(figure: Figure) -> Record:
    return Record(figure, figure.reached, "2026-01-02T03:04:05Z", False, {"cpus": "2"})


@pytest.mark.parametrize(
    ("figure", "cells"),
    [
        (GOOD, ("size of the image", "≤ 22 MB", "21.2 MB", "yes", "all of it")),
        (BAD, ("time to SSH", "≤ 2 ×", "2.25 ×", "no", "")),
        (RIVAL, ("build", "< 80.0 s (other)", "12.3 s", "yes", "")),
        (UNKNOWN, ("build", "less than other", "-", "-", "other could not be had")),
        (Figure("m", "memory", "MiB", 128, 96.0), ("memory", "≤ 128 MiB", "96 MiB", "yes", "")),
        (Figure("s", "rebuild", "s", 1, 0.583), ("rebuild", "≤ 1 s", "0.58 s", "yes", "")),
    ],
)
def test_a_row_tells_what_was_asked_for_and_whether_it_was_reached(
    figure: Figure, cells: tuple[str, ...]
) -> None:
    assert figure.cells == cells


def test_as_much_as_asked_for_is_reached_but_a_draw_is_no_win() -> None:
    assert Figure("a", "a", "s", 1.0, 1.0).reached
    assert not Figure("a", "a", "s", 1.0, 1.0, rival="other").reached


def test_a_row_without_a_value_tells_why() -> None:
    said = "kernel …\nskiff: error: not installed on this machine: libelf-dev\nhint: sudo apt-get install"
    failed = CommandError(["skiff", "build", "virt/qemu"], 2, said)
    assert reason(failed) == "not installed on this machine: libelf-dev"
    assert reason(AssertionError("device: no answer\nits console")) == "device: no answer"
    assert reason(AssertionError()) == "AssertionError"
    assert len(reason(AssertionError("x" * 500))) == 120


def test_the_table_lines_up() -> None:
    lines = plain([GOOD, BAD]).splitlines()
    assert len(lines) == 4
    assert {line.index(cell) for line, cell in zip(lines[2:], ("≤ 22", "≤ 2 "), strict=True)} == {
        lines[0].index("asked for")
    }
    assert all(line == line.rstrip() for line in lines)


def test_markdown_has_a_head_and_a_row_for_each() -> None:
    lines = markdown([GOOD, RIVAL]).splitlines()
    assert lines[0] == "| figure | asked for | measured | reached | how |"
    assert lines[1] == "| --- | --- | --- | --- | --- |"
    assert lines[3] == "| build | < 80.0 s (other) | 12.3 s | yes |  |"


def test_json_comes_back_and_says_what_was_reached(tmp_path: Path) -> None:
    path = tmp_path / "results" / "latest.json"
    save(path, [record(GOOD), record(UNKNOWN)])
    assert load(path) == [record(GOOD), record(UNKNOWN)]
    plainly = json.loads(path.read_text())
    assert [item["reached"] for item in plainly] == [True, None]
    assert plainly[0]["figure"]["value"] == 21.234


def test_no_results_or_broken_ones_are_none(tmp_path: Path) -> None:
    assert load(tmp_path / "missing.json") == []
    (tmp_path / "broken.json").write_text("[{")
    assert load(tmp_path / "broken.json") == []


def test_a_new_value_takes_the_old_ones_place() -> None:
    newer = record(Figure("size", "size of the image", "MB", 22, 20.0))
    both = merged([record(BAD), record(GOOD)], [newer], ["size", "time", "never measured"])
    assert both == [newer, record(BAD)]


@pytest.mark.parametrize("least", [40, 48, 96, 120, 128, 136, 200, 256])
def test_the_search_finds_the_smallest(least: int) -> None:
    tried: list[int] = []

    def works(memory: int) -> bool:
        tried.append(memory)
        return memory >= least

    assert smallest(works, low=40, high=256, step=8, first=128) == least
    assert len(tried) == len(set(tried)) <= 7


def test_the_search_finds_nothing_when_nothing_works() -> None:
    assert smallest(lambda _: False, low=40, high=256, step=8, first=128) is None
