"""Kconfig fragments of a recipe's layers: which there are, in which order, and who sets what."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from skiff.model.arch import Arch
from skiff.model.recipe import LayerRef

_SET = re.compile(r"^((?:BR2|CONFIG)_\w+)=(.*)$")
_UNSET = re.compile(r"^# ((?:BR2|CONFIG)_\w+) is not set$")
# A remark that was meant to be more: `#BR2_… is not set`.
_NEARLY_UNSET = re.compile(r"^#\s*(?:BR2|CONFIG)_\w+\s+is\s+not\s+set")
# In fragments it stands for the folder of their layer. SkiffOS's own word.
ROOT = "SKIFF_CONFIG_ROOT"


class Kind(enum.Enum):
    """Whose configuration a fragment is for; the value is the folder's name in a layer."""

    BUILDROOT = "buildroot"
    KERNEL = "kernel"
    BUSYBOX = "busybox"
    UBOOT = "uboot"


class Fragment(msgspec.Struct, frozen=True):
    """One file of a layer, with its layer's folder filled in."""

    layer: str
    path: Path
    text: str

    @property
    def values(self) -> dict[str, str]:
        """Symbol → value, in the file's order."""
        return read(self.text)

    @property
    def unread(self) -> list[str]:
        """A message for each line that sets nothing, though it looks as if it were to."""
        return [
            f"{self.path}:{number}: no setting that Kconfig reads: {line}"
            for number, line in enumerate(map(str.strip, self.text.splitlines()), start=1)
            if line and not _SET.match(line) and not _UNSET.match(line)
            if line[0] != "#" or _NEARLY_UNSET.match(line)
        ]


class Setting(msgspec.Struct, frozen=True):
    """A symbol's value as layers want it, and who said so: the last one counts."""

    symbol: str
    value: str
    # Layer and value of each that set it, first to last.
    said: tuple[tuple[str, str], ...]

    @property
    def layer(self) -> str:
        """The layer whose word counts."""
        return self.said[-1][0]


def read(text: str) -> dict[str, str]:
    """Symbol → value of every line that sets one, `n` for what is not set, in the order of the last word."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if match := _SET.match(line.strip()):
            found.pop(match[1], None)
            found[match[1]] = match[2].strip()
        elif match := _UNSET.match(line.strip()):
            found.pop(match[1], None)
            found[match[1]] = "n"
    return found


def line(symbol: str, value: str) -> str:
    """A line of a configuration."""
    return f"# {symbol} is not set\n" if value == "n" else f"{symbol}={value}\n"


def collect(layers: Sequence[LayerRef], arch: Arch, kind: Kind) -> list[Fragment]:
    """The fragments of all layers, in the order in which they are merged.

    A layer of ours has `KIND/*.config` for every CPU, and `KIND/CPU/*.config` for one. In a package of
    SkiffOS every file of the folder counts. U-Boot of our layers is compiled apart from Buildroot.
    """
    found = []
    for layer in layers:
        folder = layer.path / kind.value
        if layer.skiffos:
            files = sorted(path for path in folder.glob("*") if path.is_file() and path.name[0] != ".")
        elif kind is Kind.UBOOT:
            continue
        else:
            files = [*sorted(folder.glob("*.config")), *sorted((folder / arch.value).glob("*.config"))]
        for path in files:
            text = path.read_text(encoding="utf-8", errors="replace")
            found.append(Fragment(layer.name, path, text.replace(ROOT, str(layer.path))))
    return found


def merge(fragments: Iterable[Fragment]) -> dict[str, Setting]:
    """Every symbol with the value that counts, in the order of the last word, which decides choices."""
    settings: dict[str, Setting] = {}
    for fragment in fragments:
        for symbol, value in fragment.values.items():
            before = settings.pop(symbol, None)
            said = (*(before.said if before else ()), (fragment.layer, value))
            settings[symbol] = Setting(symbol, value, said)
    return settings


def text(settings: Iterable[Setting]) -> str:
    """The settings as a fragment that Kconfig reads, with a remark wherever another layer speaks."""
    lines = []
    speaker = ""
    for setting in settings:
        if setting.layer != speaker:
            speaker = setting.layer
            lines.append(f"# {speaker}\n")
        lines.append(line(setting.symbol, setting.value))
    return "".join(lines)
