"""What is seen of a fleet at work: a live table on a terminal, a line for each device elsewhere."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from skiff.host.ui import Ui
from skiff.model.fleet import Host, Outcome

_COLOURS = {"ok": "green", "failed": "red", "broken off": "red", "at work": "cyan", "waiting": "dim"}
# What one wants to see first.
_ORDER = ("failed", "broken off", "at work", "waiting", "ok")


class Lines:
    """A line for each device as it ends."""

    def __init__(self, ui: Ui, total: int) -> None:
        self._ui = ui
        self._total = total
        self._done = 0

    def begin(self, host: Host) -> None:
        """Nothing: a line tells when it has ended."""

    def detail(self, host: Host, text: str) -> None:
        """Nothing either."""

    def end(self, host: Host, outcome: Outcome) -> None:
        """Tell how it went; what went well is a result, and told elsewhere."""
        self._done += 1
        text = f"[{self._done}/{self._total}] {host.name}: {outcome.state}, {outcome.seconds:.1f} s"
        self._ui.notice(text if outcome.state == "ok" else f"{text}: {outcome.text}")

    def notice(self, text: str) -> None:
        """A line."""
        self._ui.notice(text)


class LiveTable:
    """A table that is drawn anew a few times a second, as high as the terminal allows."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self._lock = threading.Lock()
        # Name → state, since when or how long, text.
        self._rows: dict[str, tuple[str, float, str]] = {host.name: ("waiting", 0.0, "") for host in hosts}
        self._notice = ""

    def begin(self, host: Host) -> None:
        """Its row tells that it is at work."""
        self._put(host, "at work", time.monotonic(), "")

    def detail(self, host: Host, text: str) -> None:
        """Its row tells how far it is."""
        with self._lock:
            state, since, _ = self._rows[host.name]
            self._rows[host.name] = (state, since, text)

    def end(self, host: Host, outcome: Outcome) -> None:
        """Its row tells how it went."""
        self._put(host, outcome.state, outcome.seconds, outcome.text)

    def notice(self, text: str) -> None:
        """Stands below the table."""
        self._notice = text

    def _put(self, host: Host, state: str, seconds: float, text: str) -> None:
        with self._lock:
            self._rows[host.name] = (state, seconds, text)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        with self._lock:
            rows = dict(self._rows)
        counts = Counter(state for state, _, _ in rows.values())
        order = sorted(rows, key=lambda name: _ORDER.index(rows[name][0]))
        # Below it are two lines more.
        room = max(3, console.size.height - 4)
        table = Table(box=None, pad_edge=False, show_header=False)
        for width in (None, 10, 7):
            table.add_column(no_wrap=True, min_width=width)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for name in order[:room]:
            state, seconds, text = rows[name]
            taken = time.monotonic() - seconds if state == "at work" else seconds
            shown = f"{taken:.1f} s" if state != "waiting" else ""
            table.add_row(escape(name), f"[{_COLOURS[state]}]{state}[/]", shown, escape(text))
        yield table
        hidden = f"; {len(order) - room} are not shown" if len(order) > room else ""
        told = ", ".join(f"{counts[state]} {state}" for state in ("ok", *_ORDER[:-1]) if counts[state])
        yield f"{told} of {len(rows)}{hidden}"
        if self._notice:
            yield f"[bold]{escape(self._notice)}[/]"


@contextmanager
def shown(hosts: Sequence[Host], ui: Ui) -> Iterator[Lines | LiveTable]:
    """What is told of the devices while the block runs; on a terminal it is gone at the end."""
    if not ui.live:
        yield Lines(ui, len(hosts))
        return
    table = LiveTable(hosts)
    # Standard output is for results, and may not be the terminal.
    with Live(table, console=ui.console, transient=True, redirect_stdout=False, refresh_per_second=5):
        yield table
