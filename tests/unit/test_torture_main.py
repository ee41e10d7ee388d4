"""`python -m torture` without machines: interrupted, gone on with, and kinds that cannot be carried out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from skiff.host.errors import UserError
from skiff.machine.qmp import QmpError
from torture import __main__ as program
from torture.kinds import Run
from torture.verdict import Blow


class Attacks:
    """Two kinds of three cases each; ``trouble`` is what comes up in a case of the first."""

    def __init__(self) -> None:
        self.carried_out: list[str] = []
        self.trouble: dict[int, BaseException] = {}

    def kind(self, name: str) -> Callable[[Run], None]:
        def attack(run: Run) -> None:
            course = run.course(name, 3)
            for number in course.left:
                self.carried_out.append(f"{name} {number}")
                if name == "first" and number in self.trouble:
                    raise self.trouble.pop(number)
                course.note(number, Blow(f"{name} {number}"))

        return attack


@pytest.fixture
def attacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Attacks:
    attacks = Attacks()
    monkeypatch.setenv("SKIFF_CACHE", str(tmp_path))
    monkeypatch.setattr(program, "machines_end_too", lambda: None)
    monkeypatch.setattr(program, "KINDS", {name: attacks.kind(name) for name in ("first", "second")})
    return attacks


def carry_out(*words: str) -> Result:
    return CliRunner().invoke(program.main, words)


def last_line(result: Result) -> str:
    return result.stdout.splitlines()[-1]


def test_it_goes_on_after_ctrl_c(attacks: Attacks) -> None:
    attacks.trouble[3] = KeyboardInterrupt()
    stopped = carry_out()
    assert stopped.exit_code == 130
    assert "| first | 2 | 2 | 0 | 0 |" in stopped.stdout
    assert last_line(stopped) == "verdict: 2 attacks stood; interrupted, the same command goes on from here"
    done = carry_out()
    assert done.exit_code == 0
    assert last_line(done) == "verdict: all 6 attacks stood"
    assert attacks.carried_out[2:] == ["first 3", "first 3", "second 1", "second 2", "second 3"]
    # Nothing is left to do.
    assert carry_out().stdout == done.stdout
    assert len(attacks.carried_out) == 7


def test_what_earlier_runs_did_can_be_forgotten(attacks: Attacks, tmp_path: Path) -> None:
    words = ("--state", str(tmp_path / "mine"))
    for count, more in ((6, ()), (6, ()), (12, ("--fresh",))):
        assert last_line(carry_out(*words, *more)) == "verdict: all 6 attacks stood"
        assert len(attacks.carried_out) == count


@pytest.mark.parametrize("trouble", [UserError("no image"), AssertionError("no image"), QmpError("no image")])
def test_what_cannot_be_carried_out_is_no_success(attacks: Attacks, trouble: Exception) -> None:
    attacks.trouble[2] = trouble
    done = carry_out()
    assert done.exit_code == 1
    assert last_line(done) == "verdict: 4 attacks stood; first: no image"
    # The other kind was carried out all the same.
    assert "| second | 3 | 3 | 0 | 0 |" in done.stdout
