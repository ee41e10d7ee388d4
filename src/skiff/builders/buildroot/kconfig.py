"""Reads Kconfig files: which symbols there are, and what each depends on. For messages, not for deciding."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

_SOURCE = re.compile(r'^(?:o|r|or)?source\s+"?([^"]+?)"?\s*$')
_VARIABLE = re.compile(r"\$\(?([A-Za-z_][A-Za-z0-9_]*)\)?")
_BLANKS = re.compile(r"\s+")
_TOKEN = re.compile(r'\s*(\|\||&&|!=|<=|>=|[!()=<>]|"[^"]*"|\'[^\']*\'|[\w.$-]+)')
_ORDER = {"n": 0, "m": 1, "y": 2}


class Symbol(msgspec.Struct):
    """A symbol, over all places that define it."""

    name: str
    # What each definition depends on, with all that encloses it. One of them has to hold.
    depends: list[str] = []
    # The choice it is a member of; 0 means none.
    choice: int = 0
    # Whether anybody can set it: it has a prompt somewhere.
    visible: bool = False


class Kconfig:
    """All symbols that can be reached from one file."""

    def __init__(self, top: Path, root: Path, variables: Mapping[str, str], prefix: str) -> None:
        """``root``: what paths in it are relative to. ``prefix``: what a .config puts before names."""
        self.root = root
        self.variables = variables
        self.prefix = prefix
        self.symbols: dict[str, Symbol] = {}
        self._choices = 0
        self._seen: set[Path] = set()
        self._read(top, [], 0)

    def find(self, name: str) -> Symbol | None:
        """The symbol that a .config calls so."""
        return self.symbols.get(name.removeprefix(self.prefix))

    def unmet(self, symbol: Symbol, values: Mapping[str, str]) -> list[str]:
        """What a symbol depends on and is not so in a .config, of the definition that lacks least."""
        lacking = [list(self._lacking(expression, values)) for expression in symbol.depends]
        return min(lacking, key=len) if lacking else []

    def members(self, symbol: Symbol) -> list[str]:
        """The other members of its choice, as a .config names them."""
        if not symbol.choice:
            return []
        return [
            self.prefix + one.name
            for one in self.symbols.values()
            if one.choice == symbol.choice and one.name != symbol.name
        ]

    def _lacking(self, expression: str, values: Mapping[str, str]) -> Iterator[str]:
        for part in _conjuncts(expression):
            try:
                holds = _Expression(part, lambda name: values.get(self.prefix + name, "n")).value() != "n"
            except ValueError:
                # A macro of the kernel's: nothing to say about it.
                continue
            if not holds:
                yield part

    def _read(self, file: Path, around: list[str], choice: int) -> None:
        if file in self._seen or not file.is_file():
            return
        self._seen.add(file)
        _Reader(self, file, around, choice).read()

    def resolve(self, word: str, file: Path, relative: bool) -> list[Path]:
        """The files that a `source` line means; it may be a glob."""
        path = _VARIABLE.sub(lambda found: self.variables.get(found[1], ""), word)
        base = file.parent if relative else self.root
        if path.startswith("/"):
            return [Path(path)]
        return sorted(base.glob(path)) if "*" in path else [base / path]

    def new_choice(self) -> int:
        """Number for one more choice."""
        self._choices += 1
        return self._choices


class _Reader:
    """One file, line by line, with the stack of what encloses a line."""

    def __init__(self, kconfig: Kconfig, file: Path, around: list[str], choice: int) -> None:
        self.kconfig = kconfig
        self.file = file
        # Kind and condition of what encloses the line.
        self.stack: list[tuple[str, list[str], int]] = [("file", list(around), choice)]
        self.symbol: Symbol | None = None
        # Whether the line belongs to a comment, which may depend on something too.
        self.remark = False
        # Conditions of the definition that is being read.
        self.own: list[str] = []

    def read(self) -> None:
        lines = iter(_joined(self.file.read_text(errors="replace")))
        helping = -1
        for line in lines:
            indent = len(line) - len(line.lstrip())
            text = line.strip()
            if helping >= 0:
                # A help text ends where the text is indented less.
                if text and indent <= helping:
                    helping = -1
                else:
                    continue
            if text in ("help", "---help---"):
                helping = indent
                continue
            if text and not text.startswith("#"):
                self._line(text.split(" #")[0].rstrip() if '"' not in text else text)
        self._finish()

    def _line(self, text: str) -> None:
        word, _, rest = text.partition(" ")
        rest = rest.strip()
        if word in ("config", "menuconfig"):
            self._finish()
            self.remark = False
            self.symbol = self.kconfig.symbols.setdefault(rest, Symbol(rest, [], 0))
            self.symbol.choice = self.symbol.choice or self.stack[-1][2]
        elif word in ("if", "menu", "choice", "comment"):
            self._finish()
            self.remark = word == "comment"
            if not self.remark:
                number = self.kconfig.new_choice() if word == "choice" else self.stack[-1][2]
                self.stack.append((word, [*self.stack[-1][1], *([rest] if word == "if" else [])], number))
        elif word in ("endif", "endmenu", "endchoice"):
            self._finish()
            if len(self.stack) > 1:
                self.stack.pop()
        elif word == "depends":
            self._depends(_BLANKS.sub(" ", rest.removeprefix("on").strip()))
        elif word in ("bool", "tristate", "string", "int", "hex", "prompt") and self.symbol is not None:
            self.symbol.visible = self.symbol.visible or bool(rest)
        elif found := _SOURCE.match(text):
            self._finish()
            for path in self.kconfig.resolve(found[1], self.file, word.startswith(("r", "or"))):
                self.kconfig._read(path, self.stack[-1][1], self.stack[-1][2])

    def _depends(self, condition: str) -> None:
        if self.symbol is not None:
            self.own.append(condition)
        elif not self.remark and self.stack[-1][0] in ("menu", "choice"):
            self.stack[-1][1].append(condition)

    def _finish(self) -> None:
        if self.symbol is not None:
            conditions = [*self.stack[-1][1], *self.own]
            self.symbol.depends.append(" && ".join(f"({one})" for one in conditions))
        self.symbol = None
        self.own = []


def _joined(text: str) -> Iterator[str]:
    """Lines, those that end in a backslash put together with the next."""
    before = ""
    for line in text.expandtabs(8).splitlines():
        if line.endswith("\\"):
            before += line[:-1] + " "
            continue
        yield before + line
        before = ""


def _conjuncts(expression: str) -> list[str]:
    """`(A && B) && (C || D)` → A, B, C || D."""
    expression = _stripped(expression)
    if not expression:
        return []
    parts, depth, start = [], 0, 0
    for at, char in enumerate(expression):
        depth += (char == "(") - (char == ")")
        if depth == 0 and expression.startswith("||", at):
            return [expression]
        if depth == 0 and expression.startswith("&&", at):
            parts.append(expression[start:at])
            start = at + 2
    parts.append(expression[start:])
    return [inner for part in parts for inner in (_conjuncts(part) if len(parts) > 1 else [part.strip()])]


def _stripped(expression: str) -> str:
    """Without parentheses that enclose all of it."""
    expression = expression.strip()
    while expression.startswith("("):
        depth = 0
        for end, char in enumerate(expression):
            depth += (char == "(") - (char == ")")
            if depth == 0 and end < len(expression) - 1:
                return expression
        expression = expression[1:-1].strip()
    return expression


class _Expression:
    """`A && (B = "x" || !C)`, evaluated in Kconfig's three values: n, m, y."""

    def __init__(self, text: str, look: Callable[[str], str]) -> None:
        if "$(" in text:
            raise ValueError(text)
        self.look = look
        self.tokens = [found[1] for found in _TOKEN.finditer(text)]

    def value(self) -> str:
        """The result. Raises ValueError for what is no expression."""
        value = self._or()
        if self.tokens:
            raise ValueError(self.tokens[0])
        return value

    def _or(self) -> str:
        value = self._and()
        while self.tokens[:1] == ["||"]:
            self.tokens.pop(0)
            value = max(value, self._and(), key=lambda one: _ORDER.get(one, 0))
        return value

    def _and(self) -> str:
        value = self._not()
        while self.tokens[:1] == ["&&"]:
            self.tokens.pop(0)
            value = min(value, self._not(), key=lambda one: _ORDER.get(one, 0))
        return value

    def _not(self) -> str:
        if self.tokens[:1] == ["!"]:
            self.tokens.pop(0)
            return {"n": "y", "m": "m"}.get(self._not(), "n")
        if self.tokens[:1] == ["("]:
            self.tokens.pop(0)
            value = self._or()
            if self.tokens[:1] != [")"]:
                raise ValueError("( without )")
            self.tokens.pop(0)
            return value
        return self._compared()

    def _compared(self) -> str:
        left = self._atom()
        if self.tokens[:1] and self.tokens[0] in ("=", "!="):
            equal = self.tokens.pop(0) == "="
            return "y" if (left == self._atom()) is equal else "n"
        if self.tokens[:1] and self.tokens[0] in ("<", ">", "<=", ">="):
            raise ValueError("an order")
        return left if left in _ORDER else "n"

    def _atom(self) -> str:
        if not self.tokens:
            raise ValueError("it ends too soon")
        token = self.tokens.pop(0)
        if token in _ORDER or token[0].isdigit():
            return token
        if token[0] in "\"'":
            return token[1:-1]
        return self.look(token).strip('"')
