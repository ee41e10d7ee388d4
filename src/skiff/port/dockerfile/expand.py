"""Puts variables into a word of a Dockerfile: ``$a``, ``${a:-b}``, ``${a#x*}``, ``${a/x/y}``, quotes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from skiff.port.dockerfile.globs import replace, trim_end, trim_start

# Bounds that no honest file meets: how deep ${…} are nested, and how long a value becomes.
_DEPTH = 50
_LONGEST = 1 << 16
# The shell's own: $@, $? … are single characters.
_SPECIAL = "@*#?-$!0"


class ExpandError(ValueError):
    """A word that cannot be expanded; ``at`` is where in it."""

    def __init__(self, what: str, at: int) -> None:
        super().__init__(what)
        self.at = at


def expand(word: str, values: Mapping[str, str], escape: str = "\\") -> str:
    """The word with variables put in, without its quotes and escapes. Raises ExpandError.

    A variable without a value becomes empty.
    """
    return _Expander(word, values, escape).whole()


class _Expander:
    def __init__(self, word: str, values: Mapping[str, str], escape: str) -> None:
        self.word = word
        self.values = values
        self.escape = escape
        self.at = 0
        self.depth = 0
        # Characters put out so far, at every depth.
        self.size = 0

    def whole(self) -> str:
        """The word to its end."""
        return self._until("", raw=False)

    def _error(self, what: str) -> ExpandError:
        return ExpandError(what, min(self.at, max(len(self.word) - 1, 0)))

    def _peek(self) -> str:
        return self.word[self.at : self.at + 1]

    def _next(self) -> str:
        char = self._peek()
        self.at += 1
        return char

    def _until(self, stop: str, *, raw: bool) -> str:
        """Text up to ``stop``, which is passed over. ``raw``: escapes stay, for patterns."""
        out: list[str] = []
        while self.at < len(self.word):
            if stop and self._peek() == stop:
                self.at += 1
                return "".join(out)
            self._add(out, self._piece(raw))
        if stop:
            raise self._error(f"missing {stop!r}")
        return "".join(out)

    def _add(self, out: list[str], text: str) -> None:
        self.size += len(text)
        if self.size > _LONGEST:
            raise self._error("becomes too long")
        out.append(text)

    def _piece(self, raw: bool) -> str:
        char = self._next()
        if char == "'":
            return self._single_quoted()
        if char == '"':
            return self._double_quoted(raw)
        if char == "$":
            return self._variable()
        if char == self.escape:
            return (char if raw else "") + self._next()
        return char

    def _single_quoted(self) -> str:
        end = self.word.find("'", self.at)
        if end < 0:
            raise self._error("open quote '")
        text = self.word[self.at : end]
        self.at = end + 1
        return text

    def _double_quoted(self, raw: bool) -> str:
        out: list[str] = []
        while self.at < len(self.word):
            char = self._next()
            if char == '"':
                return "".join(out)
            if char == "$":
                self._add(out, self._variable())
            elif char == self.escape:
                # Before other characters it stays.
                escaped = self._peek() and self._peek() in ('"', "$", self.escape)
                out += [char] if raw or not escaped else []
                out += [self._next()] if escaped else []
            else:
                out.append(char)
        raise self._error('open quote "')

    def _variable(self) -> str:
        if self._peek() != "{":
            name = self._name()
            return self.values.get(name, "") if name else "$"
        self.at += 1
        self.depth += 1
        if self.depth > _DEPTH:
            raise self._error("${…} nested too deep")
        value = self._braces()
        self.depth -= 1
        return value

    def _name(self) -> str:
        start = self.at
        if self._peek().isdigit() and self._peek().isascii():
            while self._peek().isdigit():
                self.at += 1
        elif self._peek() and self._peek() in _SPECIAL:
            self.at += 1
        else:
            while self._peek() == "_" or self._peek().isalnum():
                self.at += 1
        return self.word[start : self.at]

    def _braces(self) -> str:
        start = self.at
        name = self._name()
        if not name:
            raise self._error("bad substitution")
        value = self.values.get(name)
        operator = self._next()
        if operator == "}":
            return value or ""
        if operator == ":":
            # Empty counts as unset.
            value = value or None
            operator = self._next()
            if operator not in ("-", "+", "?"):
                self.at = start
                raise self._error(f"bad substitution ${{{name}:{operator}")
        if operator in ("-", "+", "?"):
            return self._choose(name, value, operator)
        if operator in ("#", "%"):
            return self._trim(value or "", operator)
        if operator == "/":
            return self._replace(value or "")
        self.at = start
        raise self._error("missing '}'" if not operator else f"bad substitution ${{{name}{operator}")

    def _choose(self, name: str, value: str | None, operator: str) -> str:
        word = self._until("}", raw=False)
        if operator == "-":
            return word if value is None else value
        if operator == "+":
            return "" if value is None else word
        if value is None:
            raise self._error(f"{name}: {word or 'must be given'}")
        return value

    def _trim(self, value: str, operator: str) -> str:
        longest = self._peek() == operator
        self.at += longest
        pattern = self._until("}", raw=True)
        trim = trim_start if operator == "#" else trim_end
        return self._matched(lambda: trim(value, pattern, longest=longest))

    def _replace(self, value: str) -> str:
        every = self._peek() == "/"
        self.at += every
        pattern = self._until("/", raw=True)
        other = self._until("}", raw=True)
        return self._matched(lambda: replace(value, pattern, other, every=every))

    def _matched(self, match: Callable[[], str]) -> str:
        try:
            return match()
        except ValueError as error:
            raise self._error(str(error)) from error
