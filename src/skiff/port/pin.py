"""A Dockerfile whose images are the very ones of the plan: names in it become those that the engine has."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from skiff.host.errors import UserError
from skiff.model.port import Node, Parent
from skiff.port.dockerfile import Dockerfile, Instruction, parse

Edit = tuple[int, int, str]


def pin(node: Node, tags: Mapping[str, str], has_reader: Callable[[str], bool]) -> str:
    """The text to build ``node`` with; ``tags`` are the names of nodes in the engine.

    A ``# syntax=`` line whose image ``has_reader`` knows nowhere is taken out: the engine's own reader of
    Dockerfiles then does, and needs no registry.
    """
    file = parse(node.text, node.reference.short)
    edits = [edit for parent in node.parents for edit in _edits(file, parent, tags[parent.node])]
    text = file.text
    for start, end, new in sorted(set(edits), reverse=True):
        text = text[:start] + new + text[end:]
    for directive in file.directives:
        if directive.name == "syntax" and not has_reader(directive.value):
            lines = text.splitlines(keepends=True)
            lines[directive.line - 1] = "#\n"
            text = "".join(lines)
    return text


def _edits(file: Dockerfile, parent: Parent, tag: str) -> list[Edit]:
    made = next((one for one in file.instructions if one.line == parent.line), None)
    if made is None:
        raise UserError(
            f"{file.name}:{parent.line}: the plan has {parent.written} here, the Dockerfile has not"
        )
    inner = made.trigger or made
    if inner.keyword != parent.instruction:
        # Wanted by a trigger that the base of this FROM holds back: its name stands in the base.
        return []
    if inner.keyword == "FROM":
        return [_edit(made, made.text_index, len(_first_word(inner)), tag)]
    edits = []
    for flag in inner.flags:
        # Written with quotes and variables, it is found by what it becomes.
        pattern = rf"(?<=from=){re.escape(parent.written)}(?=[\s,\"']|$)"
        for found in re.finditer(pattern, flag.raw):
            edits.append(_edit(inner, flag.index + found.start(), len(parent.written), tag))
    return edits


def _first_word(made: Instruction) -> str:
    return made.words[0] if made.words else made.text.split()[0]


def _edit(made: Instruction, index: int, length: int, new: str) -> Edit:
    """The same place in the whole text."""
    return made.offsets[index], made.offsets[index + length - 1] + 1, new
