"""What others may read while and after an apply: state lines, live logs, and the line of skiff-status."""

from __future__ import annotations

import time
from pathlib import Path

from skiff_device.common.files import write_atomically
from skiff_device.core.errors import told
from skiff_device.core.observe import Seen
from skiff_device.core.paths import Paths

# A log is cut to its second half when it grows beyond this, in bytes.
LOG_LIMIT = 512 << 10


def clean(text: str) -> str:
    """One line without tabs, as a state line's fields must be, and without what terminals obey."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split())[:400])


def report(paths: Paths, state: str, text: str, hint: str = "") -> None:
    """The line that skiff-status shows. state is ok, wait, warn or fail."""
    write_atomically(paths.status, f"{state}\t{clean(text)}\t{clean(hint)}\n")


def container(
    paths: Paths, name: str, state: str, text: str, hint: str = "", ids: tuple[str, str] | None = None
) -> None:
    """State of one container; ids are its full id and its cgroup's path, kept as they are when None."""
    path = paths.containers / name
    if ids is None:
        ids = container_ids(paths, name)
    write_atomically(path, f"{state}\t{clean(text)}\t{clean(hint)}\n{ids[0]}\n{ids[1]}\n")


def container_ids(paths: Paths, name: str) -> tuple[str, str]:
    """Id and cgroup's path that were last written for a container; empty when there are none."""
    try:
        lines = (paths.containers / name).read_text().split("\n")
    except OSError:
        return "", ""
    return (lines[1], lines[2]) if len(lines) > 2 else ("", "")


def container_line(paths: Paths, name: str) -> tuple[str, str, str]:
    """State, text and hint that were last written for a container; empty when there are none."""
    try:
        fields = (paths.containers / name).read_text().split("\n")[0].split("\t")
    except OSError:
        return "", "", ""
    return (*fields, "", "", "")[:3]  # type: ignore[return-value]


def settled(paths: Paths, name: str, seen: Seen | None) -> tuple[str, str]:
    """Write the state of a container that nothing more is to be done for; returns state and text."""
    if seen is None:
        result = ("fail", "there is no such container", f"skiff-core logs {name}")
    elif seen.state == "restarting":
        text = f"ends again and again with status {seen.exit_code}"
        result = ("fail", text, f"skiff-core logs --container {name}")
    elif seen.state == "paused":
        result = ("warn", "is paused", f"docker unpause {name}")
    elif seen.runs:
        result = ("ok", "running", "")
    elif seen.state == "created":
        # A failed start leaves it so, with the reason.
        result = ("fail", f"did not start: {seen.error}", "") if seen.error else ("ok", "not started yet", "")
    else:
        text = f"stopped (status {seen.exit_code})" if seen.exit_code else "stopped"
        result = ("ok", text, f"docker start {name}")
    ids = ("", "") if seen is None else (seen.id, seen.cgroup)
    container(paths, name, *result, ids=ids)
    return result[0], result[1]


def keep(path: Path, text: str) -> tuple[str, ...]:
    """Write a small file on persist; returns a warning when the disk takes no more, for what runs goes on."""
    try:
        write_atomically(path, text)
    except OSError as error:
        full = told(error)
        return (f"{full.message}, {path.name} is not written ({full.hint})",)
    return ()


class ContainerLog:
    """Progress of one container: to a file that others follow, begun anew at the first line."""

    def __init__(self, paths: Paths, name: str) -> None:
        self.path: Path = paths.logs / name
        self.begun = False
        self.size = 0

    def __call__(self, line: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        data = f"{time.strftime('%H:%M:%S')} {line}\n".encode(errors="replace")
        with self.path.open("ab" if self.begun else "wb") as file:
            file.write(data)
            self.size = file.tell()
        self.begun = True
        if self.size > LOG_LIMIT:
            kept = self.path.read_bytes()[-LOG_LIMIT // 2 :].partition(b"\n")[2]
            self.path.write_bytes(kept)
