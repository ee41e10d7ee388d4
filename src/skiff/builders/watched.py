"""A long compilation: headers it needs, its output line by line, its end in the message if it fails."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from skiff.host.errors import UserError
from skiff.host.run import DEVNULL, PIPE, STDOUT, failure, spawn

# Lines of the compiler's output that are kept for a message.
_TAIL = 40


def require_headers(headers: Mapping[str, str]) -> None:
    """Raise UserError for all headers that are missing; each is given with the package that brings it."""
    missing = [package for header, package in headers.items() if not Path(header).exists()]
    if missing:
        raise UserError(
            f"not installed on this machine: {', '.join(missing)}",
            hint=f"sudo apt-get install --no-install-recommends {' '.join(missing)}",
        )


def follow(
    argv: Sequence[str],
    environment: Mapping[str, str],
    line: Callable[[str], None],
    log: IO[bytes] | None = None,
) -> int:
    """Run a program, hand on its lines (both streams) and keep them in ``log``; its status.

    It ends when this does, with all that it started: what goes on where it stopped must not meet it.
    """
    # Killed outright, this program can end nothing: the kernel then tells the other one to.
    words = ["setpriv", "--pdeathsig", "TERM", *argv]
    # Its own process group, which can be ended as one, and no terminal to ask a question on that nobody sees.
    process = spawn(words, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, env=environment, new_session=True)
    assert process.stdout is not None
    try:
        for raw in process.stdout:
            if log is not None:
                log.write(raw)
            line(raw.decode(errors="replace").rstrip())
        return process.wait()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            # Read to its end: then nobody writes any more.
            process.stdout.read()
            process.wait()
        process.stdout.close()


def watched(
    argv: Sequence[str],
    environment: Mapping[str, str],
    detail: Callable[[str], None],
    log: IO[bytes] | None = None,
) -> None:
    """Run make and tell what it is at. Raises CommandError with its last lines when it fails."""
    tail: deque[str] = deque(maxlen=_TAIL)

    def line(text: str) -> None:
        tail.append(text)
        detail(text.strip())

    if status := follow(argv, environment, line, log):
        raise failure(argv, status, "\n".join(tail))
