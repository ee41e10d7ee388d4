"""Base images of builds: the one a Dockerfile names, or one made from Debian packages without a registry."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from skiff_device.common.errors import DeviceError, EngineDown
from skiff_device.common.run import Log
from skiff_device.core import engine

_ARG = re.compile(r"ARG\s+BASE=(\S+)\s*$", re.IGNORECASE)
_FROM = re.compile(r"FROM\s+(?:--platform=\S+\s+)?(\$BASE|\$\{BASE\})(\s|$)", re.IGNORECASE)


def named_base(dockerfile: str) -> str:
    """The image a Dockerfile starts from, when it begins `ARG BASE=…` and `FROM ${BASE}`; else nothing."""
    lines = [line.strip() for line in dockerfile.splitlines()]
    words = [line for line in lines if line and not line.startswith("#")]
    if len(words) < 2 or not _FROM.match(words[1]):
        return ""
    found = _ARG.match(words[0])
    return found.group(1).strip("\"'") if found else ""


def own_name(lock: bytes) -> str:
    """The name of the image that is made from a base.lock."""
    return f"skiff.local/base-{hashlib.sha256(lock).hexdigest()[:16]}"


def prepare(source: Path, dockerfile: Path, log: Log) -> str | None:
    """The image to give a build as BASE; None when the Dockerfile's own will do.

    What is on this machine counts first, so that nothing waits for a network that is not there; then the
    registry is asked, and at last the base is made from the Debian packages that source/base.lock lists.
    """
    lock = source / "base.lock"
    if not lock.is_file():
        return None
    base = named_base(dockerfile.read_text(errors="replace"))
    if not base or engine.image(base) is not None:
        return None
    own = own_name(lock.read_bytes())
    if engine.image(own) is not None:
        log(f"base: {own}, made here before")
        return own
    try:
        log(f"pulling {base}")
        engine.pull(base, log)
        return None
    except EngineDown:
        raise
    except DeviceError as error:
        log(error.message)
        _make(source, own, log, error)
    return own


def _make(source: Path, tag: str, log: Log, unreached: DeviceError) -> None:
    """Make the base by the module that can; an image without it has the registry alone."""
    import importlib

    try:
        bootstrap = importlib.import_module("skiff_device.core.bootstrap")
    except ImportError:
        raise unreached from None
    log(f"making {tag} from Debian packages instead")
    bootstrap.make_base(source, tag, log)
