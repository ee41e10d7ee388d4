"""Work over many devices: waves, how many at once, how many may fail, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import pytest

from skiff.fleet.roll import Deed, Roll, judge
from skiff.fleet.waves import Plan, ordered, plan
from skiff.host.errors import UserError
from skiff.host.run import Group
from skiff.model.fleet import Answer, Host, Inventory, Outcome

# Seconds that a test waits for what comes at once.
PATIENT = 30


def hosts(count: int) -> list[Host]:
    return [Host(f"h{number}", f"h{number}") for number in range(count)]


class Silent:
    """Watches, and remembers what it was told."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.noticed = threading.Event()

    def begin(self, host: Host) -> None:
        self.began.append(host.name)

    def detail(self, host: Host, text: str) -> None: ...

    def end(self, host: Host, outcome: Outcome) -> None: ...

    def notice(self, text: str) -> None:
        self.noticed.set()


def states(outcomes: dict[str, Outcome]) -> list[str]:
    return [outcome.state for outcome in outcomes.values()]


def go(order: Plan, deed: Deed) -> dict[str, Outcome]:
    return Roll(order, deed, Silent(), Group()).go()


@pytest.mark.parametrize(
    ("wave", "total", "sizes"),
    [
        ("", 5, [5]),
        ("100%", 5, [5]),
        ("2", 5, [2, 2, 1]),
        ("1,10,50%", 50, [1, 10, 25, 14]),
        ("1,25%", 6, [1, 2, 2, 1]),
        ("1%", 3, [1, 1, 1]),
    ],
)
def test_sizes_of_waves(wave: str, total: int, sizes: list[int]) -> None:
    assert [len(part) for part in plan(hosts(total), wave, "", 4).waves] == sizes


@pytest.mark.parametrize(("text", "limit"), [("", None), ("3", 3), ("10%", 5), ("1%", 1)])
def test_limits(text: str, limit: int | None) -> None:
    assert plan(hosts(50), "", text, 4).limit == limit


@pytest.mark.parametrize(
    ("wave", "failures", "jobs", "says"),
    [
        ("0", "", 1, "wave"),
        ("a", "", 1, "wave"),
        ("101%", "", 1, "wave"),
        ("", "0", 1, "failures"),
        ("", "", 0, "jobs"),
    ],
)
def test_words_that_say_nothing(wave: str, failures: str, jobs: int, says: str) -> None:
    with pytest.raises(UserError, match=says):
        plan(hosts(3), wave, failures, jobs)


def test_the_command_line_goes_before_the_file_and_that_before_what_holds_else() -> None:
    every = hosts(8)
    silent, file = Inventory(tuple(every)), Inventory(tuple(every), wave="4", failures="2", jobs=3)
    assert ordered(silent, every, None, None, None, changes=True) == plan(every, "1,25%", "1", 16)
    assert ordered(file, every, None, None, None, changes=True) == plan(every, "4", "2", 3)
    assert ordered(file, every, "8", "5", 1, changes=True) == plan(every, "8", "5", 1)
    # What only looks goes everywhere at once, and to the end.
    assert ordered(file, every, None, None, None, changes=False) == plan(every, "", "", 3)
    with pytest.raises(UserError, match="jobs: 0"):
        ordered(silent, every, None, None, 0, changes=False)


def test_a_wave_begins_when_the_one_before_has_ended() -> None:
    ended: list[str] = []

    def deed(host: Host, say: Callable[[str], None]) -> Answer:
        if host.name == "h0":
            assert ended == []
        elif host.name in ("h3", "h4"):
            assert sorted(ended)[:3] == ["h0", "h1", "h2"]
        ended.append(host.name)
        return Answer("")

    assert states(go(plan(hosts(5), "1,2", "", 8), deed)) == ["ok"] * 5


def test_so_many_at_a_time_and_no_more() -> None:
    lock, together = threading.Lock(), threading.Barrier(3)
    now = most = 0

    def deed(host: Host, say: Callable[[str], None]) -> Answer:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        # Three are there at the same time, or this fails.
        together.wait(PATIENT)
        with lock:
            now -= 1
        return Answer("")

    assert states(go(plan(hosts(9), "", "", 3), deed)) == ["ok"] * 9
    assert most == 3


def test_too_many_failures_end_it() -> None:
    def deed(host: Host, say: Callable[[str], None]) -> Answer:
        if host.name in ("h1", "h3"):
            raise UserError(f"root@{host.address}: it is off", hint="switch it on")
        return Answer("done", ok=host.name != "h9")

    outcomes = go(plan(hosts(6), "", "2", 1), deed)
    assert states(outcomes) == ["ok", "failed", "ok", "failed", "untried", "untried"]
    # Its row begins with its name already.
    assert (outcomes["h1"].text, outcomes["h1"].hint) == ("it is off", "switch it on")


@pytest.mark.parametrize(
    ("hints", "told"),
    [
        (["use ssh", "use ssh"], "use ssh"),
        (["use ssh", ""], "see above for each"),
        (["use ssh", "look"], "see above for each"),
        (["", ""], "see above for each"),
    ],
)
def test_a_hint_is_for_all_that_failed(hints: list[str], told: str) -> None:
    outcomes = {f"h{number}": Outcome("failed", "x", hint) for number, hint in enumerate(hints)}
    with pytest.raises(UserError, match="2 of 3 devices failed: h0, h1") as caught:
        judge({**outcomes, "h9": Outcome("ok")})
    assert caught.value.hint == told


def test_a_bug_is_not_taken_for_a_failure_of_a_device() -> None:
    def deed(host: Host, say: Callable[[str], None]) -> Answer:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        go(plan(hosts(3), "", "", 1), deed)


def test_after_ctrl_c_those_at_work_come_to_their_end() -> None:
    watch = Silent()

    def deed(host: Host, say: Callable[[str], None]) -> Answer:
        if host.name == "h1":
            os.kill(os.getpid(), signal.SIGINT)
        assert watch.noticed.wait(PATIENT)
        return Answer("whole")

    before = signal.getsignal(signal.SIGINT)
    roll = Roll(plan(hosts(5), "", "", 2), deed, watch, Group())
    outcomes = roll.go()
    assert states(outcomes) == ["ok", "ok", "untried", "untried", "untried"]
    assert roll.interrupts == 1 and watch.began == ["h0", "h1"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_breaks_them_off() -> None:
    group, watch = Group(), Silent()

    def deed(host: Host, say: Callable[[str], None]) -> Answer:
        with group.started(["sleep", str(PATIENT)]):
            os.kill(os.getpid(), signal.SIGINT)
            assert watch.noticed.wait(PATIENT)
            os.kill(os.getpid(), signal.SIGINT)
        return Answer("never")

    assert states(Roll(plan(hosts(2), "", "", 1), deed, watch, group).go()) == ["broken off", "untried"]
