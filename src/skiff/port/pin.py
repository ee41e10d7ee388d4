"""A Dockerfile whose images are the very ones of the plan: names in it become those that the engine has."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from skiff.host.errors import UserError
from skiff.model.port import Node, Parent, Platform
from skiff.port.dockerfile import Dockerfile, Instruction, parse

Edit = tuple[int, int, str]


def pin(node: Node, parents: Mapping[str, tuple[str, Platform]], has_reader: Callable[[str], bool]) -> str:
    """The text to build ``node`` with; ``parents`` are names in the engine and platforms, by node.

    Every FROM gets its platform, written out: not every builder puts variables in there, and podman's looks
    for later stages' images by the platform of the first one.
    A ``# syntax=`` line whose image ``has_reader`` knows nowhere is taken out: the engine's own reader of
    Dockerfiles then does, and needs no registry. So is ``# check=``: it forbids platforms written out.
    """
    file = parse(node.text, node.reference.short)
    edits = [edit for parent in node.parents for edit in _edits(file, parent, *parents[parent.node])]
    text = file.text
    for start, end, new in sorted(set(edits), reverse=True):
        text = text[:start] + new + text[end:]
    return _with_directives(file, text, has_reader)


def _with_directives(file: Dockerfile, text: str, has_reader: Callable[[str], bool]) -> str:
    """The text with directives in an order that every reader obeys: one that it does not know ends them."""
    kept = [
        one
        for one in file.directives
        if one.name == "escape" or (one.name == "syntax" and has_reader(one.value))
    ]
    if not file.directives or len(kept) == len(file.directives) == 1:
        return text
    first = sorted(kept, key=lambda one: one.name != "escape")
    lines = [f"# {one.name}={one.value}\n" for one in first]
    # What comes after them stays at its line.
    lines += ["#\n"] * (len(file.directives) - len(kept))
    return "".join([*lines, *text.split("\n", len(file.directives))[len(file.directives) :]])


def _edits(file: Dockerfile, parent: Parent, tag: str, platform: Platform) -> list[Edit]:
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
        written = made.all_flags("platform")
        own = f"--platform={platform}"
        image = tag if written else f"{own} {tag}"
        edits = [_edit(made, made.text_index, len(_first_word(inner)), image)]
        return edits + [_edit(made, flag.index, len(flag.raw), own) for flag in written]
    edits = []
    for flag in inner.flags:
        # Written with quotes and variables, it is found by what it becomes.
        pattern = rf"from=[\"']?({re.escape(parent.written)})(?=[\s,\"']|$)"
        for found in re.finditer(pattern, flag.raw):
            edits.append(_edit(inner, flag.index + found.start(1), len(parent.written), tag))
    return edits


def _first_word(made: Instruction) -> str:
    return made.words[0] if made.words else made.text.split()[0]


def _edit(made: Instruction, index: int, length: int, new: str) -> Edit:
    """The same place in the whole text."""
    return made.offsets[index], made.offsets[index + length - 1] + 1, new
