"""Patterns with ``*`` and ``?`` as variables of Dockerfiles use them, in bounded time."""

from __future__ import annotations

# How much work a pattern may make: a step is one character of the pattern at one of the value.
_STEPS = 5_000_000

Pattern = list[str]
_STAR, _ANY = "*", "?"


def trim_start(value: str, pattern: str, *, longest: bool) -> str:
    """The value without what the pattern matches at its start. Raises ValueError for a bad pattern."""
    ends = _ends(value, _tokens(pattern), 0)
    return value[(max if longest else min)(ends) :] if ends else value


def trim_end(value: str, pattern: str, *, longest: bool) -> str:
    """The value without what the pattern matches at its end. Raises ValueError for a bad pattern."""
    turned = value[::-1]
    ends = _ends(turned, _tokens(pattern)[::-1], 0)
    return turned[(max if longest else min)(ends) :][::-1] if ends else value


def replace(value: str, pattern: str, other: str, *, every: bool) -> str:
    """The value with the longest match of the pattern replaced: the first one, or every one.

    Raises ValueError for a bad pattern, or when it is too much work.
    """
    tokens = _tokens(pattern)
    other = other.replace("\\/", "/").replace("\\}", "}")
    if len(value) * len(value) * max(len(tokens), 1) > _STEPS:
        raise ValueError("pattern and value are too long")
    out: list[str] = []
    start = 0
    while start < len(value):
        ends = [end for end in _ends(value, tokens, start) if end > start]
        if ends:
            out.append(other)
            start = max(ends)
            if not every:
                break
        else:
            out.append(value[start])
            start += 1
    return "".join(out) + value[start:]


def _tokens(pattern: str) -> Pattern:
    """Characters of a pattern; those that stand for themselves are longer by a leading escape."""
    tokens: Pattern = []
    index = 0
    while index < len(pattern):
        char = pattern[index]
        if char == "\\":
            index += 1
            char = pattern[index : index + 1]
            if not char or char not in "*?\\}/":
                raise ValueError(f"bad pattern: \\{char}")
            tokens.append("\\" + char)
        elif char in (_STAR, _ANY):
            # Several stars are one.
            tokens += [] if char == _STAR and tokens[-1:] == [_STAR] else [char]
        else:
            tokens.append("\\" + char)
        index += 1
    return tokens


def _ends(value: str, tokens: Pattern, start: int) -> list[int]:
    """Every place at which a match that begins at ``start`` can end."""
    if (len(value) - start + 1) * (len(tokens) + 1) > _STEPS:
        raise ValueError("pattern and value are too long")
    # Places that the tokens so far can reach.
    reached = {start}
    for token in tokens:
        if token == _STAR:
            reached = set(range(min(reached), len(value) + 1))
        elif token == _ANY:
            reached = {place + 1 for place in reached if place < len(value)}
        else:
            reached = {place + 1 for place in reached if value[place : place + 1] == token[1]}
        if not reached:
            return []
    return sorted(reached)
