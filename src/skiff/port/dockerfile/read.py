"""Joined lines to instructions: each keyword's own rules. Raises DockerfileError with line and column."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator

from skiff.port.dockerfile.flags import FLAGS, check_flag
from skiff.port.dockerfile.heredocs import opening
from skiff.port.dockerfile.lines import Joined, Reader
from skiff.port.dockerfile.model import Dockerfile, DockerfileError, Flag, Instruction, Pair, error_at
from skiff.port.dockerfile.words import (
    BLANKS,
    NotStrings,
    Word,
    json_array,
    skip_space,
    split_blanks,
    split_quoted,
    take_flags,
)

_STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
# Form of the arguments of each instruction.
_FORMS = {
    "ADD": "paths",
    "ARG": "names",
    "CMD": "command",
    "COPY": "paths",
    "ENTRYPOINT": "command",
    "ENV": "pairs",
    "EXPOSE": "words",
    "FROM": "words",
    "HEALTHCHECK": "health",
    "LABEL": "pairs",
    "MAINTAINER": "text",
    "ONBUILD": "trigger",
    "RUN": "command",
    "SHELL": "array",
    "STOPSIGNAL": "text",
    "USER": "text",
    "VOLUME": "list",
    "WORKDIR": "text",
}


def parse(text: str, name: str = "Dockerfile") -> Dockerfile:
    """A Dockerfile from its text. Raises DockerfileError."""
    text = text.removeprefix("\ufeff")
    reader = Reader(name, text)
    joined = reader.read()
    instructions = tuple(_Parser(name, text, reader.escape, line).instruction() for line in joined)
    _check_start(name, instructions)
    return Dockerfile(name, text, reader.escape, reader.directives, instructions)


def decode(data: bytes, name: str) -> str:
    """The text of a file. Raises DockerfileError where it is not UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        raise DockerfileError(name, line, column, "not UTF-8", "save the file in UTF-8") from error


def parse_trigger(text: str, image: str) -> Instruction:
    """An instruction that an image holds back for those built on it (ONBUILD)."""
    name = f"ONBUILD of {image}"
    joined = Reader(name, text).read()
    if len(joined) != 1:
        raise DockerfileError(name, 1, 1, "not one instruction")
    return _Parser(name, text, "\\", joined[0]).instruction()


def _check_start(name: str, instructions: tuple[Instruction, ...]) -> None:
    if not instructions:
        raise DockerfileError(name, 1, 1, "no instructions", "a Dockerfile begins with FROM")
    first = next((one for one in instructions if one.keyword != "ARG"), None)
    if first is None or first.keyword != "FROM":
        found = first or instructions[0]
        raise DockerfileError(
            name, found.line, 1, f"{found.keyword} before any FROM", "only ARG may stand before FROM"
        )


class _Parser:
    """One joined line, on its way to an instruction."""

    def __init__(self, name: str, text: str, escape: str, line: Joined) -> None:
        self.name = name
        self.text = text
        self.escape = escape
        self.line = line

    def error(self, index: int, what: str, hint: str = "") -> DockerfileError:
        """A mistake at that place of the joined line."""
        return error_at(self.name, self.text, self.line.offsets, index, what, hint)

    def instruction(self, start: int = 0) -> Instruction:
        """The instruction that begins at ``start``."""
        joined = self.line.text
        start = skip_space(joined, start)
        end = start
        while end < len(joined) and joined[end] not in BLANKS:
            end += 1
        keyword = joined[start:end].upper()
        if keyword not in _FORMS:
            near = difflib.get_close_matches(keyword, _FORMS, n=1, cutoff=0.7)
            hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(_FORMS)}"
            raise self.error(start, f"unknown instruction {joined[start:end]!r}", hint)
        raw, index = take_flags(joined, end, self.escape)
        flags = tuple(self._flag(keyword, one.text, one.raw, one.at) for one in raw)
        self._check_repeated(keyword, flags)
        made = Instruction(
            keyword=keyword,
            line=self.line.line,
            end_line=self.line.end_line,
            joined=joined,
            offsets=self.line.offsets,
            text=joined[index:],
            text_index=index,
            flags=flags,
            heredocs=self.line.heredocs,
        )
        return _READERS[_FORMS[keyword]](self, made)

    def _flag(self, keyword: str, text: str, raw: str, index: int) -> Flag:
        name, equals, value = text[2:].partition("=")
        flag = Flag(name, value if equals else None, raw, index)
        problem = check_flag(keyword, flag)
        if problem:
            raise self.error(index, *problem)
        return flag

    def _check_repeated(self, keyword: str, flags: tuple[Flag, ...]) -> None:
        seen: set[str] = set()
        for flag in flags:
            if flag.name in seen and not FLAGS[keyword][flag.name].repeated:
                raise self.error(flag.index, f"--{flag.name} given twice", "leave one of them out")
            seen.add(flag.name)

    # One reader for each form of arguments.

    def text_form(self, made: Instruction) -> Instruction:
        """One text, spaces and all."""
        self._need(made, 1, bool(made.text))
        return made

    def words_form(self, made: Instruction) -> Instruction:
        """Words between blanks."""
        words = split_blanks(made.text, made.text_index)
        self._need(made, 1, bool(words))
        if made.keyword == "FROM":
            self._check_from(made, words)
        return _with(made, words=tuple(word.text for word in words))

    def _check_from(self, made: Instruction, words: list[Word]) -> None:
        if len(words) == 1:
            return
        if len(words) != 3 or words[1].text.upper() != "AS":
            raise self.error(
                words[1].at, "FROM takes an image and maybe a name", "FROM IMAGE, or FROM IMAGE AS NAME"
            )
        if not _STAGE_NAME.fullmatch(words[2].text.lower()):
            raise self.error(
                words[2].at,
                f"{words[2].text!r}: not a name for a stage",
                "a letter first, then letters, digits, '_', '-' and '.'",
            )

    def list_form(self, made: Instruction) -> Instruction:
        """A JSON array, or words between blanks."""
        items = self._json(made)
        words = items if items is not None else tuple(word.text for word in split_blanks(made.text))
        self._need(made, 1, bool(words))
        if any(not word.strip() for word in words):
            raise self.error(made.text_index, f"{made.keyword} of nothing", "an item of the list is empty")
        return _with(made, words=words, json=items is not None)

    def paths_form(self, made: Instruction) -> Instruction:
        """Sources and a target."""
        items = self._json(made)
        words = items if items is not None else tuple(word.text for word in split_blanks(made.text))
        self._need(made, 2, len(words) > 1)
        if items is None and opening(words[-1]):
            raise self.error(made.text_index, f"{made.keyword}: a here-document cannot be the target")
        return _with(made, words=words, json=items is not None)

    def command_form(self, made: Instruction) -> Instruction:
        """A JSON array of a program and its arguments, or a line for the shell."""
        items = self._json(made)
        return made if items is None else _with(made, words=items, json=True)

    def array_form(self, made: Instruction) -> Instruction:
        """A JSON array and nothing else."""
        items = self._json(made)
        if not items:
            raise self.error(
                made.text_index, f"{made.keyword} needs a JSON array", 'as in SHELL ["/bin/bash", "-c"]'
            )
        return _with(made, words=items, json=True)

    def health_form(self, made: Instruction) -> Instruction:
        """NONE, or CMD and a command."""
        first = split_blanks(made.text, made.text_index)[:1]
        kind = first[0].text.upper() if first else ""
        if kind not in ("NONE", "CMD"):
            raise self.error(made.text_index, "HEALTHCHECK takes NONE, or CMD and a command")
        after = skip_space(made.text, first[0].at - made.text_index + len(kind))
        if kind == "NONE" and made.text[after:]:
            raise self.error(made.text_index + after, "HEALTHCHECK NONE takes nothing more")
        if kind == "CMD" and not made.text[after:]:
            raise self.error(made.text_index, "HEALTHCHECK CMD without a command")
        items = self._json(made, after)
        return made if items is None else _with(made, words=items, json=True)

    def pairs_form(self, made: Instruction) -> Instruction:
        """``KEY=VALUE …``, or the old ``KEY VALUE``."""
        words = split_quoted(made.text, self.escape, made.text_index)
        self._need(made, 1, bool(words))
        if "=" not in words[0].text:
            parts = split_blanks(made.text, made.text_index)
            after = parts[0].at - made.text_index + len(parts[0].text)
            index = skip_space(made.text, after)
            if index == len(made.text):
                raise self.error(parts[0].at, f"{made.keyword} {parts[0].text} without a value")
            return _with(made, pairs=(Pair(parts[0].text, made.text[index:], made.text_index + index),))
        return _with(made, pairs=tuple(self._pairs(made, words)))

    def names_form(self, made: Instruction) -> Instruction:
        """``NAME`` or ``NAME=VALUE``, several."""
        words = split_quoted(made.text, self.escape, made.text_index)
        self._need(made, 1, bool(words))
        return _with(made, pairs=tuple(self._pairs(made, words, bare=True)))

    def _pairs(self, made: Instruction, words: list[Word], *, bare: bool = False) -> Iterator[Pair]:
        for word in words:
            key, equals, value = word.text.partition("=")
            if not equals and bare:
                yield Pair(key, None, word.at)
                continue
            if not equals:
                raise self.error(
                    word.at, f"{made.keyword}: no '=' in {word.text!r}", "quote a value with spaces"
                )
            if not key:
                raise self.error(word.at, f"{made.keyword}: no name before '='")
            yield Pair(key, value, word.at + len(key) + 1)

    def trigger_form(self, made: Instruction) -> Instruction:
        """Another instruction."""
        self._need(made, 1, bool(made.text))
        trigger = made.text.split(None, 1)[0].upper()
        if trigger in ("ONBUILD", "FROM", "MAINTAINER"):
            raise self.error(made.text_index, f"{trigger} cannot stand behind ONBUILD")
        return _with(made, trigger=self.instruction(made.text_index))

    def _json(self, made: Instruction, start: int = 0) -> tuple[str, ...] | None:
        try:
            return json_array(made.text[start:])
        except NotStrings:
            raise self.error(
                made.text_index + start,
                f"{made.keyword}: the array may hold strings only",
                "put every item in double quotes",
            ) from None

    def _need(self, made: Instruction, count: int, there: bool) -> None:
        if not there:
            what = "an argument" if count == 1 else "a source and a target"
            raise self.error(made.text_index, f"{made.keyword} needs {what}")


def _with(made: Instruction, **values: object) -> Instruction:
    fields = {name: getattr(made, name) for name in made.__struct_fields__}
    return Instruction(**{**fields, **values})


_READERS: dict[str, Callable[[_Parser, Instruction], Instruction]] = {
    "text": _Parser.text_form,
    "words": _Parser.words_form,
    "list": _Parser.list_form,
    "paths": _Parser.paths_form,
    "command": _Parser.command_form,
    "array": _Parser.array_form,
    "health": _Parser.health_form,
    "pairs": _Parser.pairs_form,
    "names": _Parser.names_form,
    "trigger": _Parser.trigger_form,
}
