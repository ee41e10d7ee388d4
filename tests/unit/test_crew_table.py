"""The table beside Dokku and piku has every command of crew, and none that there is not."""

from __future__ import annotations

import re
from pathlib import Path

from tools import crew_reference

TABLE = Path(__file__).parents[2] / "docs/reference/crew-and-dokku.md"


def test_the_table_has_every_command() -> None:
    rows = [line for line in TABLE.read_text().splitlines() if line.startswith("| `")]
    ours = [name for row in rows for name in re.findall(r"`([^`]+)`", row.split(" | ")[0])]
    commands = {command.name for family in crew_reference.families() for command in family.commands}
    assert sorted(ours) == sorted(commands)
