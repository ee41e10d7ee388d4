"""Debian's security tracker: what is known of holes in packages, from its web page or a file."""

from __future__ import annotations

import time
import urllib.request
from http.client import HTTPException
from pathlib import Path

import msgspec

from skiff.host.errors import UserError
from skiff.host.files import write_atomic

# Described at https://security-tracker.debian.org/tracker/ under "JSON".
TRACKER = "https://security-tracker.debian.org/tracker/data/json"
# Seconds for which a copy of the page is good enough; and without a byte until it counts as out of reach.
_FRESH, _TIMEOUT = 12 * 3600, 60.0


class Release(msgspec.Struct, frozen=True):
    """How one hole stands in one release of Debian."""

    # `open`, `resolved` or `undetermined`.
    status: str
    # Of the source package; "0" when it never had the hole.
    fixed_version: str = ""
    urgency: str = ""


class Hole(msgspec.Struct, frozen=True):
    """One hole in one source package."""

    description: str = ""
    releases: dict[str, Release] = {}


# By source package, then by the hole's name, such as CVE-2024-0001.
Tracker = dict[str, dict[str, Hole]]


def read(place: str, cache: Path) -> Tracker:
    """The tracker's data, from a file or URL. Raises UserError when it cannot be had or is something else."""
    kept = cache / "security-tracker" / "json"
    if place == TRACKER and kept.exists() and time.time() - kept.stat().st_mtime < _FRESH:
        return _decoded(kept.read_bytes(), place)
    data = _fetched(place) if "://" in place else _file(Path(place))
    tracker = _decoded(data, place)
    if place == TRACKER:
        # Only now: what a log-in page of a network says in its place would be believed for hours.
        write_atomic(kept, data)
        kept.touch()
    return tracker


def _decoded(data: bytes, place: str) -> Tracker:
    why = "it names no package"
    try:
        # Without a package every image would be found to be without holes.
        if tracker := msgspec.json.decode(data, type=Tracker):
            return tracker
    except msgspec.DecodeError as error:
        why = str(error)
    raise UserError(
        f"{place}: not the data of Debian's security tracker: {why}",
        hint=f"it is what {TRACKER} has; `--data FILE` takes a copy of that",
    )


def _file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"--data {path}: {error.strerror}", hint="name a file that can be read") from error


def _fetched(url: str) -> bytes:
    """The page: some 60 MB."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as source:
            data: bytes = source.read()
    except (OSError, HTTPException, ValueError) as error:
        raise UserError(
            f"{url}: cannot be reached: {getattr(error, 'reason', error)}; nothing was looked up",
            hint="fetch it elsewhere and give it with `--data FILE`",
        ) from error
    return data
