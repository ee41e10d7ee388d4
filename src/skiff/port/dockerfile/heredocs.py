"""Finds the here-documents that an instruction opens: ``RUN <<EOF``, ``COPY <<-"a" <<b /dir/``."""

from __future__ import annotations

import re
from typing import NamedTuple

from skiff.port.dockerfile.words import BLANKS, NotStrings, is_space, json_array, take_flags

_OPENING = re.compile(r"\d*<<(-?)\s*([^<]*)", re.DOTALL)
_TAKES_THEM = ("RUN", "COPY", "ADD")


class Opening(NamedTuple):
    """A here-document's name and kind, before its lines are read."""

    name: str
    expand: bool
    chomp: bool


def openings(joined: str, escape: str) -> list[Opening]:
    """The here-documents that a joined line opens, in order."""
    if "<<" not in joined or not _may_open(joined, escape):
        return []
    found = (opening(word) for word in _raw_words(joined))
    return [one for one in found if one is not None]


def opening(word: str) -> Opening | None:
    """What a word of a line opens; None if it opens nothing."""
    match = _OPENING.fullmatch(word)
    if match is None or not match[2]:
        return None
    names = _plain_words(match[2])
    if len(names) != 1 or not names[0]:
        return None
    quoted = any(mark in match[2] for mark in "'\"") and not any(mark in names[0] for mark in "'\"")
    return Opening(names[0], not quoted, match[1] == "-")


def _may_open(joined: str, escape: str) -> bool:
    words = joined.split(None, 2)
    keyword, rest = words[0].upper(), joined[len(words[0]) :]
    if keyword == "ONBUILD" and len(words) > 1:
        keyword, rest = words[1].upper(), rest.lstrip()[len(words[1]) :]
    if keyword not in _TAKES_THEM:
        return False
    _, index = take_flags(rest, 0, escape)
    try:
        return json_array(rest[index:]) is None
    except NotStrings:
        return False


def _raw_words(line: str) -> list[str]:
    """Words with their quotes. ``<<`` and the name behind it are one, also with blanks between them.

    An open quote makes the whole line hold no here-document, as in BuildKit.
    """
    words: list[str] = []
    word, quote, index = "", "", 0
    while index < len(line):
        char = line[index]
        if quote:
            word += char
            if char == "\\" and quote == '"':
                index += 1
                word += line[index : index + 1]
            elif char == quote:
                quote = ""
        elif char == "\\":
            index += 1
            word += char + line[index : index + 1]
        elif char in "'\"":
            quote = char
            word += char
        elif line.startswith("<<", index):
            end = index + 2
            while end < len(line) and line[end] in BLANKS:
                end += 1
            word += line[index:end]
            index = end
            continue
        elif is_space(char):
            words += [word] if word else []
            word = ""
        else:
            word += char
        index += 1
    if quote:
        return []
    return [*words, word] if word else words


def _plain_words(text: str) -> list[str]:
    """Words without quotes and escapes."""
    words: list[str] = []
    word, quote, begun, index = "", "", False, 0
    while index < len(text):
        char = text[index]
        if char == "\\" and quote != "'":
            index += 1
            word, begun = word + text[index : index + 1], True
        elif quote:
            word, quote = (word, "") if char == quote else (word + char, quote)
        elif char in "'\"":
            quote, begun = char, True
        elif is_space(char):
            words += [word] if begun else []
            word, begun = "", False
        else:
            word, begun = word + char, True
        index += 1
    return [*words, word] if begun else words
