"""A Dockerfile as values: its instructions, each with the places in the text that it came from."""

from __future__ import annotations

import msgspec

from skiff.host.errors import UserError


class DockerfileError(UserError):
    """A mistake in a Dockerfile; line and column count from 1."""

    def __init__(self, name: str, line: int, column: int, what: str, hint: str = "") -> None:
        super().__init__(f"{name}:{line}:{column}: {what}", hint)
        self.line = line
        self.column = column


class Directive(msgspec.Struct, frozen=True):
    """A comment at the top that the parser obeys: ``syntax``, ``escape``, ``check``."""

    name: str
    value: str
    line: int


class Heredoc(msgspec.Struct, frozen=True):
    """Lines that belong to an instruction, up to one that is only ``name``."""

    name: str
    # Whether variables are put in: not when the name is quoted.
    expand: bool
    # `<<-`: tabs at the start of lines are no part of it.
    chomp: bool
    content: str
    # Of its first line.
    line: int


class Flag(msgspec.Struct, frozen=True):
    """``--name=value``; the value is None for a flag without one."""

    name: str
    value: str | None
    # As written, with its quotes.
    raw: str
    # Where it stands in the instruction's joined line.
    index: int


class Pair(msgspec.Struct, frozen=True):
    """One of ENV, LABEL or ARG; the value as written, None for an ARG without one."""

    key: str
    value: str | None
    # Where the value, else the name, stands in the instruction's joined line.
    index: int


class Instruction(msgspec.Struct, frozen=True):
    """One instruction, its continued lines joined."""

    keyword: str
    line: int
    end_line: int
    # Continued lines as one, without the escapes at their ends and the comments between them.
    joined: str
    # For each character of `joined`, where it stands in the whole text.
    offsets: tuple[int, ...]
    # What follows keyword and flags, and where it begins in `joined`.
    text: str
    text_index: int
    flags: tuple[Flag, ...] = ()
    # Arguments, of instructions that take a list; the items of a JSON array.
    words: tuple[str, ...] = ()
    json: bool = False
    pairs: tuple[Pair, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()
    # ONBUILD: what it holds back.
    trigger: Instruction | None = None

    def flag(self, name: str) -> Flag | None:
        """The last flag of that name; None without one."""
        return next((one for one in reversed(self.flags) if one.name == name), None)

    def all_flags(self, name: str) -> tuple[Flag, ...]:
        """Every flag of that name."""
        return tuple(one for one in self.flags if one.name == name)


class Dockerfile(msgspec.Struct, frozen=True):
    """A parsed Dockerfile."""

    # What messages call it.
    name: str
    text: str
    escape: str
    directives: tuple[Directive, ...]
    instructions: tuple[Instruction, ...]

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset in the text."""
        return place(self.text, offset)

    def error(self, instruction: Instruction, index: int, what: str, hint: str = "") -> DockerfileError:
        """A mistake at a place of an instruction's joined line."""
        return error_at(self.name, self.text, instruction.offsets, index, what, hint)


def place(text: str, offset: int) -> tuple[int, int]:
    """Line and column of an offset; one behind the end belongs to the last line."""
    offset = max(0, min(offset, len(text)))
    return text.count("\n", 0, offset) + 1, offset - (text.rfind("\n", 0, offset) + 1) + 1


def error_at(
    name: str, text: str, offsets: tuple[int, ...], index: int, what: str, hint: str = ""
) -> DockerfileError:
    """A mistake at a place of a joined line."""
    offset = offsets[max(0, min(index, len(offsets) - 1))] if offsets else 0
    return DockerfileError(name, *place(text, offset), what, hint)
