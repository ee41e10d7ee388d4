"""What becomes of bytes on a disk that ages: a flipped bit, zeros, noise."""

from __future__ import annotations

import random
from pathlib import Path

_LARGEST = 64 << 10


def strike(disk: Path, start: int, size: int, chance: random.Random) -> str:
    """Change something within ``size`` bytes from ``start``; in words what was done."""
    at = start + chance.randrange(size)
    length = min(chance.randrange(1, _LARGEST), start + size - at)
    kind = chance.choice(("a flipped bit", "zeros", "noise"))
    with disk.open("r+b") as file:
        file.seek(at)
        old = file.read(length)
        if kind == "a flipped bit":
            new = bytes([old[0] ^ (1 << chance.randrange(8))])
        else:
            new = bytes(len(old)) if kind == "zeros" else chance.randbytes(len(old))
        file.seek(at)
        file.write(new)
    return f"{kind} at byte {at - start} of {size}" + (f", {len(new)} bytes" if len(new) > 1 else "")
