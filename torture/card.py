"""A card seen from outside, while its machine is off: which slots on it are whole, read by mtools."""

from __future__ import annotations

import tempfile
from pathlib import Path

from skiff.host.files import file_digest
from skiff.host.run import run
from skiff.model.disk import SECTOR, SLOTS
from tests.vm.disks import offset

_STATE = 16 * SECTOR


def whole_slots(card: Path) -> list[str]:
    """The slots whose manifest is there, and all of whose files are as it says."""
    return [slot for slot in SLOTS if _is_whole(card, slot)]


def _is_whole(card: Path, slot: str) -> bool:
    with tempfile.TemporaryDirectory(dir=card.parent) as folder:
        words = ["mcopy", "-s", "-n", "-i", f"{card}@@{offset(card)}", f"::/{slot}", folder]
        if run(words, check=False, input=b"").returncode != 0:
            return False
        root = Path(folder) / slot
        if not (root / "manifest").is_file():
            return False
        files = [line.split(" ", 3) for line in (root / "manifest").read_text(errors="replace").splitlines()]
        named = [line[1:] for line in files if line[0] == "file" and len(line) == 4]
        return bool(named) and all(
            (root / name).is_file() and file_digest(root / name) == digest for digest, _, name in named
        )


def set_state(card: Path, state: bytes) -> None:
    """What U-Boot finds in the sector of the boot partition that is set aside for it."""
    with card.open("r+b") as file:
        file.seek(offset(card) + _STATE)
        file.write((b"SKIFFST1" + state).ljust(SECTOR, b"\0"))
