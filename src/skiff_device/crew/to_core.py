"""Hands a pushed tree to the service core, which builds it as root and switches the environment to it."""

from __future__ import annotations

import os
import shutil
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from skiff_device.common import fifo
from skiff_device.common.errors import DeviceError
from skiff_device.crew.paths import Paths

Say = Callable[[str], None]
_LOOK = 0.3


def container(section: dict[str, Any]) -> str:
    """The container whose environment an app with that section `app` feeds; empty for any other app."""
    marked = section.get("core", "")
    # As apps:core marks it.
    return "core" if marked is True else str(marked)


def push(paths: Paths, name: str, tar: Path, commit: str, say: Say) -> None:
    """Do for a container what the hook of core's own `git push core@device:env` does. Raises DeviceError."""
    folder = paths.root / "mnt/persist/skiff/core/env" / name
    requests = paths.root / "run/skiff/core/requests"
    if not requests.exists():
        raise DeviceError("the service core is not there", "add a layer of core/, or: sv status core")
    if not folder.is_dir():
        raise DeviceError(
            f"the container {name} is not set up yet", "push again when skiff-core status shows it"
        )
    pid = os.getpid()
    incoming = folder / f"incoming.{pid}"
    answer = paths.root / "run/skiff/core/push" / f"{name}.{pid}"
    log = answer.with_name(f"{answer.name}.log")
    # Files are the group's, which core's own users are in too.
    mask = os.umask(0o007)
    try:
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir(mode=0o2770)
        with tarfile.open(tar, "r:") as archive:
            # Nothing outside, no devices; links stay within.
            archive.extractall(incoming, filter="data")
        log.touch(mode=0o660)
        answer.touch(mode=0o660)
        fifo.tell(requests, f"push {name} {commit} {pid}\n".encode())
        result = _follow(answer, log, say)
    except (OSError, tarfile.TarError) as error:
        raise DeviceError(f"core does not take it: {error}", "sv status core") from None
    finally:
        os.umask(mask)
        shutil.rmtree(incoming, ignore_errors=True)
        answer.unlink(missing_ok=True)
        log.unlink(missing_ok=True)
    if not result.startswith("ok"):
        raise DeviceError(result.removeprefix("fail ") or "core did not answer")
    say(result.removeprefix("ok "))


def _follow(answer: Path, log: Path, say: Say) -> str:
    shown = 0
    while True:
        result = answer.read_text(errors="replace").strip()
        data = log.read_bytes()
        lines = data[shown:].rpartition(b"\n")[0]
        if lines:
            shown += len(lines) + 1
            for line in lines.decode(errors="replace").split("\n"):
                say(line)
        if result:
            return result
        time.sleep(_LOOK)
