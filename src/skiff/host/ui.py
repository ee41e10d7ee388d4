"""What the user sees while long work goes on: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class Step:
    """One piece of long work: how far it is, and with what."""

    def __init__(self, title: str, total: int | None, live: Progress | None) -> None:
        self.title = title
        self.total = total
        self.done = 0
        self._live = live
        self._task: TaskID | None = live.add_task(title, total=total, detail="") if live else None

    def advance(self, count: int = 1) -> None:
        """That many more of ``total`` are done."""
        self.done += count
        if self._live is not None and self._task is not None:
            count_shown = f" {self.done} of {self.total}" if self.total else ""
            self._live.update(self._task, advance=count, description=f"{self.title}{count_shown}")

    def detail(self, text: str) -> None:
        """What is being worked on now. Shown on a terminal only."""
        if self._live is not None and self._task is not None:
            self._live.update(self._task, detail=escape(text))


class Ui:
    """Progress, notices and warnings, all on standard error: standard output is for results."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)

    @property
    def live(self) -> bool:
        """Whether a person watches, on a screen whose lines can be written again."""
        return self.console.is_terminal and not self.console.is_dumb_terminal and not self.quiet

    @contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator[Step]:
        """Show one piece of work while the block runs, and how long it took at its end."""
        started = time.monotonic()
        if self.live:
            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TimeElapsedColumn(),
                TextColumn("[dim]{task.fields[detail]}"),
            )
            with Progress(*columns, console=self.console, transient=True) as progress:
                step = Step(title, total, progress)
                yield step
        else:
            self._line(f"{title} …")
            yield (step := Step(title, total, None))
        # Nothing of it: it was there already.
        count = f" {step.done} of {total}," if total and step.done else ""
        self._line(f"{title}:{count} {time.monotonic() - started:.1f} s")

    def relayed(self, say: Callable[[str], None]) -> Ui:
        """For one of several pieces of work that share the screen: titles of steps go to ``say``."""
        return _Relay(say)

    def _line(self, text: str) -> None:
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def notice(self, text: str) -> None:
        """Something the user may want to know."""
        self._line(text)

    def warn(self, text: str) -> None:
        """Something the user should know; shown even when quiet."""
        print(f"skiff: warning: {text}", file=sys.stderr, flush=True)


class _Relay(Ui):
    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(quiet=True)
        self._say = say

    @contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator[Step]:
        self._say(title)
        yield Step(title, total, None)
