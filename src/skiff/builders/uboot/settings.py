"""Settings of U-Boot (Kconfig lines): laid over a defconfig, and looked for in what came of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from skiff.host.errors import UserError

_SET = re.compile(r"^(CONFIG_\w+)=(.*)$")
_UNSET = re.compile(r"^# (CONFIG_\w+) is not set$")


def read(text: str) -> dict[str, str]:
    """Name → value of every line that sets one; `n` for what is not set. Other lines count as remarks."""
    found = {}
    for line in text.splitlines():
        if match := _SET.match(line.strip()):
            found[match[1]] = match[2]
        elif match := _UNSET.match(line.strip()):
            found[match[1]] = "n"
    return found


def merged(config: str, wanted: Sequence[str]) -> str:
    """A .config with further lines laid over it; the last one for a name counts."""
    values = read(config)
    for text in wanted:
        values.update(read(text))
    return "".join(
        f"# {name} is not set\n" if value == "n" else f"{name}={value}\n" for name, value in values.items()
    )


def check(config: str, wanted: Sequence[str], defconfig: str) -> None:
    """Raise UserError for wanted lines that Kconfig did not take: unknown, or something else forbids them."""
    have = read(config)
    want: dict[str, str] = {}
    for text in wanted:
        want.update(read(text))
    lost = [f"{name}={value}" for name, value in want.items() if have.get(name, "n") != value]
    if lost:
        raise UserError(
            f"U-Boot for {defconfig} does not take these settings: {', '.join(lost)}",
            hint="an unknown name, or another setting that is needed first: see uboot/*.config of the layers",
        )
