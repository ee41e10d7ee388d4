"""What layers asked of Kconfig and did not get: each with layer, value and the reason."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

import msgspec

from skiff.builders.buildroot.fragments import Setting
from skiff.builders.buildroot.kconfig import Kconfig
from skiff.host.errors import UserError

_VALUE = re.compile(r'[ymn]|-?\d+|0[xX][0-9a-fA-F]+|".*"')


class Dropped(msgspec.Struct, frozen=True):
    """A symbol that is not as it was asked for."""

    symbol: str
    layer: str
    wanted: str
    # `n` for what is not set at all.
    actual: str
    reason: str

    def __str__(self) -> str:
        return f"{self.symbol}={self.wanted} (layer {self.layer}): is {self.actual}: {self.reason}"


def dropped(
    settings: Mapping[str, Setting], config: Mapping[str, str], kconfig: Kconfig | None
) -> list[Dropped]:
    """Compare what was asked for with a final configuration. Without ``kconfig`` no reason is told.

    A module that became a part of the kernel itself is there, and counts as what was asked for.
    """
    lost = []
    for symbol, setting in settings.items():
        actual = config.get(symbol, "n")
        if "REPLACEME_" in setting.value:
            # SkiffOS's own word for what is filled in later.
            continue
        if _same(setting.value, actual):
            continue
        reason = _reason(setting, actual, config, kconfig) if kconfig else "not taken"
        lost.append(Dropped(symbol, setting.layer, setting.value, actual, reason))
    return lost


def _same(wanted: str, actual: str) -> bool:
    if wanted == actual or (wanted, actual) == ("m", "y"):
        return True
    if wanted in ('""', "n") and actual in ('""', "n"):
        return True
    # Numbers: 0x10 is 0X10, and 16 is not.
    return wanted.lower() == actual.lower() if wanted.lower().startswith("0x") else False


def _reason(setting: Setting, actual: str, config: Mapping[str, str], kconfig: Kconfig) -> str:
    symbol = kconfig.find(setting.symbol)
    if symbol is None:
        near = difflib.get_close_matches(
            setting.symbol, [kconfig.prefix + name for name in kconfig.symbols], n=1, cutoff=0.8
        )
        return f"there is no such symbol; did you mean {near[0]}?" if near else "there is no such symbol"
    if setting.value == "n":
        return "something else that is set needs it (select)"
    unmet = kconfig.unmet(symbol, config)
    if unmet:
        return f"it depends on {' and on '.join(_short(part) for part in unmet[:3])}"
    taken = [name for name in kconfig.members(symbol) if config.get(name) == "y"]
    if taken:
        return f"it is a choice, and {taken[0]} is chosen"
    if not _VALUE.fullmatch(setting.value):
        return 'a value is y, m, n, a number, or a text in quotes: "text"'
    if not symbol.visible:
        return "nobody can set it: other symbols do (select), or its default"
    return "its range or another symbol does not allow it"


def _short(expression: str) -> str:
    return expression if len(expression) <= 80 else f"{expression[:77]}…"


def report(lines: list[str], *, strict: bool) -> list[str]:
    """Give the warnings back. Raises UserError with all of them when ``strict``."""
    if lines and strict:
        raise UserError(
            "settings that layers ask for have no effect:\n  " + "\n  ".join(lines),
            hint="mend or take out these lines of the layers; without --strict they are warnings",
        )
    return lines
