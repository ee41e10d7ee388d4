"""A long compilation: told line by line, kept in a log, its last lines in the message if it fails."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from skiff.host.run import PIPE, STDOUT, failure, spawn

# Lines of the compiler's output that are kept for a message.
_TAIL = 40


def watched(
    argv: Sequence[str],
    environment: Mapping[str, str],
    detail: Callable[[str], None],
    log: Path = Path("/dev/null"),
) -> None:
    """Run make and tell what it is at. It ends when this does. Raises CommandError when it fails."""
    tail: deque[str] = deque(maxlen=_TAIL)
    with log.open("wb") as kept:
        process = spawn(argv, stdout=PIPE, stderr=STDOUT, env=environment)
        assert process.stdout is not None
        try:
            for raw in process.stdout:
                kept.write(raw)
                line = raw.decode(errors="replace").rstrip()
                tail.append(line)
                detail(line.strip())
            status = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
            process.stdout.close()
    if status:
        raise failure(argv, status, "\n".join(tail))
