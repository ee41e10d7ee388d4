"""Splits the text of an instruction into flags, words and pairs, as Docker does: quotes stay in words."""

from __future__ import annotations

import json
from typing import NamedTuple

# Between keyword and arguments, and between plain words.
BLANKS = "\t\v\f\r "


class Word(NamedTuple):
    """A word and where it begins."""

    text: str
    at: int


class RawFlag(NamedTuple):
    """A flag without its quotes, as it is written, and where it begins."""

    text: str
    raw: str
    at: int


class NotStrings(ValueError):
    """A JSON array that holds something else than strings."""


def is_space(char: str) -> bool:
    """Unicode's white space. Python counts four separators of ASCII to it, Docker does not."""
    return char.isspace() and not "\x1c" <= char <= "\x1f"


def skip_space(text: str, index: int) -> int:
    """Where the next character stands that is no space."""
    while index < len(text) and is_space(text[index]):
        index += 1
    return index


def split_blanks(text: str, start: int = 0) -> list[Word]:
    """Words between blanks; quotes mean nothing."""
    words: list[Word] = []
    begin = -1
    for index, char in enumerate(text):
        if char in BLANKS:
            if begin >= 0:
                words.append(Word(text[begin:index], start + begin))
            begin = -1
        elif begin < 0:
            begin = index
    if begin >= 0:
        words.append(Word(text[begin:], start + begin))
    return words


def split_quoted(text: str, escape: str, start: int = 0) -> list[Word]:
    """Words between spaces that are neither quoted nor escaped; quotes and escapes stay in them."""
    words: list[Word] = []
    index = skip_space(text, 0)
    while index < len(text):
        end = _end_of_word(text, index, escape)
        words.append(Word(text[index:end], start + index))
        index = skip_space(text, end)
    return words


def _end_of_word(text: str, index: int, escape: str, plain_in: str = "'") -> int:
    """Where the word that begins at ``index`` ends. An open quote reaches to the end of the text.

    ``plain_in``: between these quotes an escape is a character as any other.
    """
    quote = ""
    while index < len(text):
        char = text[index]
        if char == escape and (not quote or quote not in plain_in):
            index += 2
            continue
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif is_space(char):
            return index
        index += 1
    return len(text)


def take_flags(text: str, index: int, escape: str) -> tuple[list[RawFlag], int]:
    """The flags that stand at ``index``, and where what follows them begins."""
    flags: list[RawFlag] = []
    while True:
        index = skip_space(text, index)
        if not text.startswith("--", index):
            return flags, index
        # In flags an escape counts in single quotes too, unlike in words.
        end = _end_of_word(text, index, escape, plain_in="")
        raw = text[index:end]
        if raw == "--":
            return flags, skip_space(text, end)
        flags.append(RawFlag(_unquoted(raw, escape), raw, index))
        index = end


def _unquoted(raw: str, escape: str) -> str:
    out: list[str] = []
    quote, index = "", 0
    while index < len(raw):
        char = raw[index]
        if char == escape:
            out.append(raw[index + 1 : index + 2])
            index += 2
            continue
        if quote and char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
        else:
            out.append(char)
        index += 1
    return "".join(out)


def json_array(text: str) -> tuple[str, ...] | None:
    """The strings of a JSON array; None for what is no JSON. Raises NotStrings for other items."""
    if not text.lstrip().startswith("["):
        return None
    try:
        items = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    if not isinstance(items, list):
        return None
    if not all(isinstance(item, str) for item in items):
        raise NotStrings
    # Half of a surrogate pair, written \ud800, is no character.
    return tuple(item.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for item in items)


def _no_constant(name: str) -> float:
    raise ValueError(name)
