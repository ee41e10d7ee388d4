"""The way in. What the verbs need is loaded in `main`, where Ctrl-C already ends the tool without a word."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

INTERRUPTED = 130


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line (``words``, else sys.argv) and return the exit status."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        # An exception amid the loading of modules would be shown with all that it went through.
        signal.signal(signal.SIGINT, _leave)
    from skiff.outcome import run

    try:
        signal.signal(signal.SIGINT, before)
        return run(words)
    except KeyboardInterrupt:
        return INTERRUPTED


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
