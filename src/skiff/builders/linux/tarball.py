"""The source text of a kernel, unpacked once and kept."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from skiff.host.files import keep_folder
from skiff.host.run import run


def unpacked(tarball: Path, key: str, cache: Path, detail: Callable[[str], None]) -> Path:
    """Folder with what a tarball holds; ``key`` names its content. Raises CommandError when it is damaged."""
    target = cache / "sources" / f"linux-{key[:16]}"
    if target.exists():
        return target
    detail("unpack the source")
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".linux-", dir=target.parent))
    try:
        run(["tar", "-xf", tarball, "-C", scratch, "--strip-components=1"])
        keep_folder(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target
