"""Files from the network, known by their checksum: fetched once into the cache."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
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
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as source, partial.open("wb") as out:
            while part := source.read(1 << 16):
                digest.update(part)
                out.write(part)
        if digest.hexdigest() != sha256:
            raise UserError(
                f"{url}: wrong checksum: {digest.hexdigest()}, not {sha256}",
                hint="it was thrown away; if the file was rightly changed, the layer needs its new sha256",
            )
        partial.replace(target)
    except (urllib.error.URLError, TimeoutError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(
            f"{url}: cannot be fetched: {reason}", hint=f"check the network, or put the file at {target}"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return target
