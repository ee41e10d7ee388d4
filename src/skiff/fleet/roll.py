"""Carries work over many devices: in waves, some at the same time, and no further once too many failed."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Protocol

from skiff.fleet.waves import Plan
from skiff.host.errors import UserError
from skiff.host.run import Group, Stopped
from skiff.model.fleet import Answer, Host, Outcome

# What is done with one device. The second argument takes words on how far it is.
Deed = Callable[[Host, Callable[[str], None]], Answer]


class Watch(Protocol):
    """Who is told what goes on."""

    def begin(self, host: Host) -> None:
        """Work on a device begins."""

    def detail(self, host: Host, text: str) -> None:
        """How far it is. Called from any thread."""

    def end(self, host: Host, outcome: Outcome) -> None:
        """It has ended."""

    def notice(self, text: str) -> None:
        """Something that concerns all."""


class Interrupt:
    """Ctrl-C, or a signal that asks to end."""


_Event = tuple[Host, Outcome] | Interrupt | BaseException


class Roll:
    """One piece of work on its way over a fleet.

    After Ctrl-C no further device begins, and those at work are brought to their end. A second one breaks
    them off.
    """

    def __init__(self, plan: Plan, deed: Deed, watch: Watch, group: Group) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.interrupts = 0
        self._plan = plan
        self._deed = deed
        self._watch = watch
        self._group = group
        # Filled by workers and by signals: putting into it is safe in both.
        self._events: SimpleQueue[_Event] = SimpleQueue()
        self._problem: BaseException | None = None

    def go(self) -> dict[str, Outcome]:
        """Do it; what became of every device, in the order of the plan."""
        with _signals_into(self._events), ThreadPoolExecutor(self._plan.jobs) as pool:
            for number, wave in enumerate(self._plan.waves, 1):
                self._one_wave(pool, wave, number)
        if self._problem is not None:
            raise self._problem
        every = [host.name for wave in self._plan.waves for host in wave]
        return {name: self.outcomes.get(name, Outcome("untried")) for name in every}

    @property
    def failed(self) -> int:
        """How many failed so far."""
        return sum(outcome.state == "failed" for outcome in self.outcomes.values())

    @property
    def _ends(self) -> bool:
        limit = self._plan.limit
        return (
            self.interrupts > 0 or self._problem is not None or (limit is not None and self.failed >= limit)
        )

    def _one_wave(self, pool: ThreadPoolExecutor, wave: tuple[Host, ...], number: int) -> None:
        waiting, running = deque(wave), 0
        while True:
            while waiting and running < self._plan.jobs and not self._ends:
                host = waiting.popleft()
                self._watch.begin(host)
                pool.submit(self._one, host, number)
                running += 1
            if not running:
                return
            # A signal that comes just before the wait is seen after it: so it is never a long one.
            with suppress(Empty):
                running -= self._take(self._events.get(timeout=0.2), running)

    def _take(self, event: _Event, running: int) -> int:
        """Note what happened; how many devices came to their end by it."""
        if isinstance(event, Interrupt):
            self.interrupts += 1
            if self.interrupts == 1:
                self._watch.notice(
                    f"no further device begins; {running} at work come to their end, Ctrl-C breaks them off"
                )
            else:
                self._group.stop()
            return 0
        if isinstance(event, BaseException):
            self._problem = event
            return 1
        host, outcome = event
        self.outcomes[host.name] = outcome
        self._watch.end(host, outcome)
        return 1

    def _one(self, host: Host, wave: int) -> None:
        started = time.monotonic()

        def outcome(state: str, text: str, hint: str = "", value: object = None) -> tuple[Host, Outcome]:
            return host, Outcome(state, text, hint, wave, round(time.monotonic() - started, 2), value)

        event: _Event
        try:
            answer = self._deed(host, lambda text: self._watch.detail(host, text))
            event = outcome("ok" if answer.ok else "failed", answer.text, answer.hint, answer.value)
        except Stopped:
            event = outcome("broken off", "by Ctrl-C, at work")
        except UserError as error:
            text = error.message.removeprefix(f"{host.user}@{host.address}").lstrip(": ")
            event = outcome("failed", "; ".join(text.splitlines()), error.hint)
        except BaseException as bug:
            # Raised again in the main thread.
            event = bug
        self._events.put(event)


def judge(outcomes: Mapping[str, Outcome]) -> None:
    """Raise UserError when a device failed."""
    failed = {name: outcome for name, outcome in outcomes.items() if outcome.state == "failed"}
    untried = sum(outcome.state == "untried" for outcome in outcomes.values())
    if not failed:
        return
    shown = ", ".join(list(failed)[:5]) + (", …" if len(failed) > 5 else "")
    rest = f", {untried} were not tried" if untried else ""
    # What helps with all of them, if there is such a thing.
    hints = {outcome.hint for outcome in failed.values()}
    hint = (hints.pop() if len(hints) == 1 else "") or "see above for each"
    raise UserError(f"{len(failed)} of {len(outcomes)} devices failed{rest}: {shown}", hint=hint)


@contextmanager
def _signals_into(events: SimpleQueue[_Event]) -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # Under nohup a signal stays ignored.
    before = {number: signal.getsignal(number) for number in numbers}
    taken = [number for number in numbers if before[number] is not signal.SIG_IGN]
    for number in taken:
        signal.signal(number, lambda *_: events.put(Interrupt()))
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])
