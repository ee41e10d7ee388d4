"""Order of Debian's version numbers, as deb-version(7) has it."""

from __future__ import annotations

import re

_PIECE = re.compile(r"(\D*)(\d*)")
_REBUILD = re.compile(r"\+b\d+$")

# Words as the ranks of their characters, and numbers, by turns.
_Text = tuple[tuple[tuple[int, ...], int], ...]


def key(version: str) -> tuple[int, _Text, _Text]:
    """What versions are sorted by: epoch, upstream version, revision."""
    epoch, colon, rest = version.partition(":")
    if not colon or not epoch.isdigit():
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return int(epoch), _text(upstream), _text(revision)


def without_rebuild(version: str) -> str:
    """A binary package's version as its source has it: `+b1` says that it was only built again."""
    return _REBUILD.sub("", version)


def _text(text: str) -> _Text:
    # The end of a word and that of the whole rank as 0, between a tilde and everything else.
    pieces = [(word, digits) for word, digits in _PIECE.findall(text) if word or digits]
    return (*(((*map(_rank, word), 0), int(digits or 0)) for word, digits in pieces), ((0,), 0))


def _rank(char: str) -> int:
    return -1 if char == "~" else ord(char) if char.isalpha() else ord(char) + 256
