#!/usr/bin/env python3
"""Prints every shell file that goes on the device, separated by NUL, for shellcheck."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_SHEBANG = re.compile(rb"#!\s*/bin/sh\b|#!\s*/usr/bin/env sh\b")


def shell_files() -> list[Path]:
    """Files of layers and of the image's own init that are shell: by first line, or by ending."""
    every = [*ROOT.glob("layers/**/*"), *ROOT.glob("src/skiff/image/**/*")]
    files = sorted(path for path in every if path.is_file() and not path.is_symlink())
    return [path for path in files if path.suffix == ".sh" or _SHEBANG.match(path.read_bytes()[:64])]


if __name__ == "__main__":
    sys.stdout.write("".join(f"{path.relative_to(ROOT)}\0" for path in shell_files()))
