"""A person at a terminal: SSH in a pseudo-terminal of its own, what it shows, what is typed, its size."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Sequence

from tests.vm.driver import ProductFailure


class Terminal:
    """Runs a program in a pseudo-terminal until it is closed."""

    def __init__(self, argv: Sequence[str], *, rows: int = 24, columns: int = 80) -> None:
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            # As a user would have it; an inherited one may be `dumb`.
            os.execvpe(argv[0], list(argv), {**os.environ, "TERM": "xterm"})
        self._seen = ""
        self.resize(rows, columns)

    def resize(self, rows: int, columns: int) -> None:
        """Another size of the window; the program is told, as the kernel does it."""
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.kill(self._pid, signal.SIGWINCH)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._fd, text.encode())

    def wait_for(self, text: str, timeout: float = 60) -> str:
        """Wait until it shows a text; everything shown since the last such text."""
        deadline = time.monotonic() + timeout
        while text not in self._seen:
            if not self._more(deadline):
                raise ProductFailure(f"the terminal does not show {text!r}, but: {self._seen[-2000:]!r}")
        shown, found, self._seen = self._seen.partition(text)
        return shown + found

    def _more(self, deadline: float) -> bool:
        """Take in what is shown next; False when time is over or the program has ended."""
        ready, _, _ = select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))
        try:
            data = os.read(self._fd, 65536) if ready else b""
        except OSError:
            data = b""
        self._seen += data.decode(errors="replace")
        return bool(data)

    def wait_for_end(self, timeout: float = 60) -> None:
        """Wait until the program has ended by itself."""
        deadline = time.monotonic() + timeout
        while self._more(deadline):
            pass
        self.close()

    def close(self) -> None:
        """Shut the window: the program is killed."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._fd)
