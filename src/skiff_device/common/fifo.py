"""Words to a program that reads a FIFO: a supervisor, the service core."""

from __future__ import annotations

import os
from pathlib import Path


def tell(path: Path, words: bytes) -> None:
    """Write to a FIFO without waiting for a reader. Raises OSError when there is none."""
    fifo = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    try:
        os.write(fifo, words)
    finally:
        os.close(fifo)
