"""What is said while work goes on, without a terminal."""

from __future__ import annotations

import re

import pytest

from skiff.host.ui import Ui

Capture = pytest.CaptureFixture[str]


def test_step_is_told_with_how_far_and_how_long(capsys: Capture) -> None:
    with Ui().step("packages", total=2) as step:
        step.detail("one")
        step.advance()
        step.advance()
    said = capsys.readouterr()
    assert said.out == ""
    assert re.search(r"^packages: 2 of 2, \d+\.\d s$", said.err, re.MULTILINE)


def test_a_bar_tells_how_many_are_done(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Ui().step("compile", total=33) as step:
        step.advance(12)
    assert "compile 12 of 33" in capsys.readouterr().err


def test_step_that_had_nothing_to_do_counts_nothing(capsys: Capture) -> None:
    with Ui().step("disk image", total=4):
        pass
    assert re.search(r"^disk image: \d+\.\d s$", capsys.readouterr().err, re.MULTILINE)


@pytest.mark.parametrize(("term", "live"), [("xterm", True), ("dumb", False)])
def test_bars_are_for_screens_that_can_draw_them(
    term: str, live: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert Ui().live is live


def test_quiet_leaves_only_warnings(capsys: Capture) -> None:
    ui = Ui(quiet=True)
    with ui.step("packages") as step:
        step.advance()
    ui.notice("good to know")
    ui.warn("look out")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "skiff: warning: look out\n")


def test_what_goes_wrong_in_a_step_comes_through(capsys: Capture) -> None:
    with pytest.raises(RuntimeError), Ui().step("packages"):
        raise RuntimeError
    assert capsys.readouterr().out == ""
