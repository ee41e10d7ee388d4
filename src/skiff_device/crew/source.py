"""What crew reads of a source tree: Dockerfile, Procfile, app.json, CHECKS. All of it comes from outside."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path
from typing import Any

from skiff_device.common.errors import DeviceError
from skiff_device.crew import names
from skiff_device.crew.containers import command_words

# Files that crew reads itself, in bytes.
_SMALL = 256 << 10


def build_argument(words: list[str]) -> dict[str, str]:
    """A build option as the API takes it: only --build-arg has one. Raises DeviceError."""
    text = " ".join(words)
    match = re.fullmatch(r"--build-arg[ =]([A-Za-z_][A-Za-z0-9_]*)=(.*)", text, re.DOTALL)
    if match is None:
        raise DeviceError(f"build option {names.shown(text)!r} is not understood", "--build-arg NAME=VALUE")
    return {match[1]: match[2]}


def small_files(tar: Path, wanted: tuple[str, ...]) -> dict[str, str]:
    """Small plain files of a tar by name; links and big ones count as not there."""
    found = {}
    try:
        with tarfile.open(tar, "r:") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if name in wanted and member.isreg() and member.size <= _SMALL:
                    file = archive.extractfile(member)
                    assert file is not None
                    found[name] = file.read().decode(errors="replace")
    except tarfile.TarError as error:
        raise DeviceError(f"the source tree cannot be read: {error}") from None
    return found


def app_json(text: str) -> dict[str, Any]:
    """app.json of the repository. Raises DeviceError with line and column."""
    if not text.strip():
        return {}
    try:
        found = json.loads(text)
        # Half of a pair of UTF-16, which JSON can name, is no text.
        json.dumps(found, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise DeviceError(f"app.json:{error.lineno}:{error.colno}: {error.msg}", "see app.json") from None
    except (ValueError, RecursionError):
        raise DeviceError("app.json: a number, a depth or a character beyond all bounds") from None
    if not isinstance(found, dict):
        raise DeviceError("app.json: expected an object")
    return found


def procfile(text: str) -> dict[str, list[str] | None] | None:
    """Processes of a Procfile; None without one. Raises DeviceError with the line."""
    found: dict[str, list[str] | None] = {}
    if "\0" in text:
        raise DeviceError("Procfile: there is a NUL in it", "one `web: command` a line")
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        name, colon, command = line.partition(":")
        if not colon or not command.strip():
            raise DeviceError(f"Procfile:{number}: expected `web: command`", "one process a line")
        process = names.process(name.strip())
        if process != "release":
            found[process] = command_words(command.strip())
    return found or None
