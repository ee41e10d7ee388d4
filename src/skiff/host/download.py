"""Files from the network, known by their checksum: fetched once into the cache."""

from __future__ import annotations

import hashlib
import os
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

from skiff.host.errors import UserError

# Seconds without a byte after which a server counts as out of reach.
_TIMEOUT = 30.0


def download(url: str, sha256: str, cache: Path) -> Path:
    """The file with that checksum. Raises UserError when it cannot be had, or is another one."""
    target = cache / "downloads" / sha256
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{sha256}.{os.getpid()}")
    digest = hashlib.sha256()
    try:
        with partial.open("wb") as out:
            for part in _parts(url, hint=f"check the network, or put the file at {target}"):
                digest.update(part)
                out.write(part)
        if digest.hexdigest() != sha256:
            raise UserError(
                f"{url}: wrong checksum: {digest.hexdigest()}, not {sha256}",
                hint="it was thrown away; if the file was rightly changed, the layer needs its new sha256",
            )
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _parts(url: str, hint: str) -> Iterator[bytes]:
    """What is behind an address, piece by piece. Raises UserError when it cannot be had to its end."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as source:
            while part := source.read(1 << 16):
                yield part
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(f"{url}: cannot be fetched: {reason}", hint=hint) from error
