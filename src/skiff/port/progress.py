"""What builders print while they build, as the step that is under way; and what they print when they fail."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO

from skiff.host.errors import UserError
from skiff.model.port import Node

# BuildKit: `#7 [2/5] RUN make`; podman and the old builder: `STEP 2/5: RUN make`, `Step 2/5 : RUN make`.
_STEP = re.compile(
    r"^(?:#\d+ (?P<kit>\[(?!internal\]).+)|(?:\[\d+/\d+\] )?STEP (?P<pod>\d+/\d+): (?P<text>.+))$",
    re.IGNORECASE,
)
_OLD = re.compile(r"^Step (\d+/\d+) : (.+)$")
_KEPT = 400
_SHOWN = 25


# Instructions and flags that are newer than the engine: a Dockerfile with mistakes never comes so far.
_TOO_NEW = re.compile(r"(?i)unknown (instruction|flag)s?\b|invalid field .*mount")


class Watch:
    """Follows one build: tells its step, and keeps its log."""

    def __init__(self, log: Path, tell: Callable[[str], None]) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        self.step = ""
        self._tell = tell
        self._tail: deque[str] = deque(maxlen=_KEPT)
        # Line by line, so that it can be followed while the build runs.
        self._file: IO[str] = log.open("w", encoding="utf-8", buffering=1)

    def __call__(self, line: str) -> None:
        """Take one line of the builder's."""
        self._file.write(line + "\n")
        self._tail.append(line)
        found = _STEP.match(line)
        old = _OLD.match(line)
        if found:
            self.step = found["kit"] or f"[{found['pod']}] {found['text']}"
        elif old:
            self.step = f"[{old[1]}] {old[2]}"
        else:
            return
        self._tell(self.step)

    def close(self) -> None:
        """End the log."""
        self._file.close()

    def failure(self, node: Node) -> UserError:
        """What to tell when the build failed."""
        tail = list(self._tail)
        text = "\n".join(tail)
        step, hint = self._failed_step(tail), f"the whole log is {self.log}; what was built before it is kept"
        if "no space left on device" in text.lower():
            return UserError(
                f"{node.reference.short} for {node.platform}: the engine's disk is full",
                hint="make room (`docker system df` tells what takes it) and run it again: "
                "what was built is kept",
            )
        if "exec format error" in text.lower():
            hint = (
                "the engine's machine does not run programs for this CPU: --setup-emulation, or "
                f"--on root@device; {hint}"
            )
        if not self.step and _TOO_NEW.search(text):
            hint = (
                "this engine's own reader of Dockerfiles is older: use a newer engine, or let it "
                f"fetch the image of `# syntax=docker/dockerfile:1`; {hint}"
            )
        lines = [line for line in tail if line.strip()][-_SHOWN:]
        return UserError(
            f"{node.reference.short} for {node.platform}: the build failed at {step}:\n  "
            + "\n  ".join(lines),
            hint=hint,
        )

    def _failed_step(self, tail: list[str]) -> str:
        """BuildKit runs steps side by side: it repeats the failed one's title before the end of its log."""
        titles = [line[3:].rstrip(":") for line in tail if line.startswith(" > ")]
        return titles[-1].strip() if titles else self.step or "its start"
