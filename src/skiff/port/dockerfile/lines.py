"""From text to joined lines: directives, comments, continued lines and here-documents."""

from __future__ import annotations

import re
from typing import NamedTuple

from skiff.port.dockerfile.heredocs import openings
from skiff.port.dockerfile.model import Directive, DockerfileError, Heredoc, error_at
from skiff.port.dockerfile.words import skip_space

_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*")
_DIRECTIVES = ("syntax", "escape", "check")


class Joined(NamedTuple):
    """An instruction's lines as one."""

    text: str
    # Where each character stands in the whole text.
    offsets: tuple[int, ...]
    line: int
    end_line: int
    heredocs: tuple[Heredoc, ...]


class _Line(NamedTuple):
    """One line without its end; where it begins, and where the next one does."""

    text: str
    start: int
    next: int


class Reader:
    """Reads a Dockerfile's text from top to bottom. Raises DockerfileError."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.escape = "\\"
        self.directives: tuple[Directive, ...] = ()
        self._lines = _split(text)
        self._at = 0

    def read(self) -> list[Joined]:
        """All joined lines; sets ``escape`` and ``directives``."""
        self._read_directives()
        found: list[Joined] = []
        while self._at < len(self._lines):
            joined = self._next()
            if joined is not None:
                found.append(joined)
        return found

    def _read_directives(self) -> None:
        seen: list[Directive] = []
        for number, line in enumerate(self._lines, 1):
            match = _DIRECTIVE.fullmatch(line.text.lstrip())
            key = match[1].lower() if match else ""
            if match is None or key not in _DIRECTIVES:
                break
            if key in [one.name for one in seen]:
                raise DockerfileError(
                    self.name, number, 1, f"directive {key} given twice", "leave one of them out"
                )
            if key == "escape":
                self._set_escape(match[2], number, line.text.index("=") + 2)
            seen.append(Directive(key, match[2], number))
        self.directives = tuple(seen)

    def _set_escape(self, value: str, line: int, column: int) -> None:
        if value not in ("\\", "`"):
            raise DockerfileError(
                self.name, line, column, f"escape {value!r}: not allowed", "it can be \\ or ` only"
            )
        self.escape = value

    def _next(self) -> Joined | None:
        """The next instruction; None where there is none."""
        first = self._at
        parts: list[str] = []
        offsets: list[int] = []
        while self._at < len(self._lines):
            line = self._lines[self._at]
            self._at += 1
            start = skip_space(line.text, 0)
            if line.text[start : start + 1] in ("", "#"):
                # Nothing, or a comment: also between continued lines, where an empty one is only warned of.
                if parts or offsets:
                    continue
                return None
            # Spaces at the start count in continued lines.
            begin = 0 if parts else start
            end = self._continued_at(line.text)
            stop = len(line.text) if end is None else end
            parts.append(line.text[begin:stop])
            offsets.extend(range(line.start + begin, line.start + stop))
            if end is None:
                break
        text = "".join(parts)
        stripped = text.rstrip(" \t")
        if not stripped:
            return None
        places = tuple(offsets[: len(stripped)])
        heredocs = self._heredocs(stripped, places)
        return Joined(stripped, places, first + 1, self._at, heredocs)

    def _continued_at(self, line: str) -> int | None:
        """Where the escape stands that continues a line; None if it ends there.

        A doubled escape continues nothing.
        """
        stripped = line.rstrip(" \t")
        if not stripped.endswith(self.escape) or stripped[-2:-1] == self.escape:
            return None
        return len(stripped) - 1

    def _heredocs(self, joined: str, places: tuple[int, ...]) -> tuple[Heredoc, ...]:
        found: list[Heredoc] = []
        for one in openings(joined, self.escape):
            start = self._at
            while True:
                if self._at == len(self._lines):
                    what = f"here-document {one.name} has no end"
                    hint = f"a line with only {one.name} ends it"
                    raise error_at(self.name, self.text, places, joined.index("<<"), what, hint)
                line = self._lines[self._at].text
                self._at += 1
                if (line.lstrip("\t") if one.chomp else line) == one.name:
                    break
            last = self._lines[self._at - 1]
            begin = self._lines[start].start
            found.append(Heredoc(one.name, one.expand, one.chomp, self.text[begin : last.start], start + 1))
        return tuple(found)


def _split(text: str) -> list[_Line]:
    lines: list[_Line] = []
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        after = len(text) if end < 0 else end + 1
        lines.append(_Line(text[start:after].rstrip("\r\n"), start, after))
        start = after
    return lines
