"""Reads YAML into a tree that still knows its lines, so that a mistake can be named where it stands."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import TypeVar

import yaml

from skiff_device.core.errors import ConfigError

T = TypeVar("T")
_MERGE = "tag:yaml.org,2002:merge"
_NULL = "tag:yaml.org,2002:null"
_KINDS = {"int": "a number", "bool": "true or false", "null": "nothing", "map": "a mapping", "seq": "a list"}
_BOOLS = {
    **dict.fromkeys(("true", "yes", "on", "y"), True),
    **dict.fromkeys(("false", "no", "off", "n"), False),
}


class Notes:
    """Collects mistakes and warnings of one file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def problem(self, line: int, key: str, text: str) -> None:
        """Note a mistake; reading goes on, so that all are shown at once."""
        self.problems.append(self._line(line, key, text))

    def warn(self, line: int, key: str, text: str) -> None:
        """Note what works, but may not be what was meant."""
        self.warnings.append(self._line(line, key, text))

    def _line(self, line: int, key: str, text: str) -> str:
        return f"{self.file}:{line}: {key}: {text}" if key else f"{self.file}:{line}: {text}"


class Value:
    """One value of the file with the key that leads to it."""

    def __init__(self, node: yaml.Node, key: str, notes: Notes) -> None:
        self.node = node
        self.key = key
        self.notes = notes
        self.line = int(node.start_mark.line) + 1

    def problem(self, text: str) -> None:
        """Note a mistake at this value."""
        self.notes.problem(self.line, self.key, text)

    def warn(self, text: str) -> None:
        """Note a warning at this value."""
        self.notes.warn(self.line, self.key, text)

    def is_null(self) -> bool:
        """Whether nothing was written after the key."""
        return bool(self.node.tag == _NULL)

    def found(self) -> str:
        """What stands there, for a message."""
        kind = str(self.node.tag).rpartition(":")[2]
        if isinstance(self.node, yaml.ScalarNode) and kind != "null":
            shown = self.node.value if len(self.node.value) < 40 else self.node.value[:37] + "…"
            return f"the text {shown!r}" if kind == "str" else repr(shown)
        return _KINDS.get(kind, kind)

    def text(self, *, lines: bool = False) -> str:
        """A text; a number or a word like `on` counts as written. Line breaks and tabs only with lines."""
        if self.is_null():
            return ""
        if not isinstance(self.node, yaml.ScalarNode):
            self.problem(f"expected a text, found {self.found()}")
            return ""
        text = str(self.node.value)
        bad = [c for c in text if c == "\0" or (not lines and (ord(c) < 32 or ord(c) == 127))]
        if bad:
            self.problem(f"expected a text of one line, found the character {bad[0]!r}: take it out")
            return ""
        return text

    def flag(self) -> bool:
        """true or false."""
        if self.is_null():
            return False
        if isinstance(self.node, yaml.ScalarNode) and str(self.node.tag).endswith(":bool"):
            return _BOOLS[self.node.value.lower()]
        self.problem(f"expected true or false, found {self.found()}{self._unquote()}")
        return False

    def number(self, low: int, high: int) -> int:
        """A whole number within bounds."""
        if isinstance(self.node, yaml.ScalarNode) and str(self.node.tag).endswith(":int"):
            try:
                number = int(self.node.value.replace("_", ""), 10)
            except ValueError:
                number = low - 1
            if low <= number <= high:
                return number
        self.problem(f"expected a number from {low} to {high}, found {self.found()}{self._unquote()}")
        return low

    def _unquote(self) -> str:
        quoted = isinstance(self.node, yaml.ScalarNode) and self.node.style in ("'", '"')
        return ": take the quotes away" if quoted else ""

    def items(self) -> list[Value]:
        """The members of a list; nothing written is an empty one."""
        if self.is_null():
            return []
        if not isinstance(self.node, yaml.SequenceNode):
            self.problem(f"expected a list (a line `- value` for each, or [value, …]), found {self.found()}")
            return []
        return [Value(node, f"{self.key}[{i}]", self.notes) for i, node in enumerate(self.node.value)]

    def texts(self, *, lines: bool = False) -> tuple[str, ...]:
        """A list of texts; empty members are left out."""
        return tuple(text for item in self.items() if (text := item.text(lines=lines)))

    def members(self) -> dict[str, Value]:
        """The keys of a mapping; a key that is written twice is a mistake."""
        found: dict[str, Value] = {}
        if self.is_null():
            return found
        if not isinstance(self.node, yaml.MappingNode):
            self.problem(f"expected a mapping (lines `key: value`), found {self.found()}")
            return found
        merged: dict[str, Value] = {}
        for key_node, node in self.node.value:
            key = Value(key_node, self.key, self.notes)
            if key_node.tag == _MERGE:
                for name, value in self._merged(node):
                    merged.setdefault(name, value)
                continue
            name = key.text() if not key.is_null() else "null"
            path = f"{self.key}.{name}" if self.key else name
            if name in found:
                first = found[name].node_key_line
                again = f"this key is already on line {first}"
                if same(found[name].node, node):
                    self.notes.warn(key.line, path, f"{again}, with the same value")
                else:
                    self.notes.problem(key.line, path, f"{again}, with another value: keep one of them")
                continue
            value = Value(node, path, self.notes)
            value.node_key_line = key.line
            # An empty value starts where the next token is; the key's line says more.
            if value.is_null():
                value.line = key.line
            found[name] = value
        return {**{name: value for name, value in merged.items() if name not in found}, **found}

    node_key_line = 0

    def _merged(self, node: yaml.Node, depth: int = 0) -> Iterator[tuple[str, Value]]:
        if isinstance(node, yaml.SequenceNode) and depth < 8:
            for part in node.value:
                yield from self._merged(part, depth + 1)
        elif isinstance(node, yaml.MappingNode) and depth < 8:
            for key, value in node.value:
                if key.tag == _MERGE:
                    yield from self._merged(value, depth + 1)
                elif isinstance(key, yaml.ScalarNode):
                    path = f"{self.key}.{key.value}" if self.key else str(key.value)
                    yield str(key.value), Value(value, path, self.notes)
        else:
            self.problem("expected `<<` to name a mapping (*name)")


def same(one: yaml.Node, other: yaml.Node, depth: int = 0) -> bool:
    """Whether two values are written alike; what is nested deeper than anything known counts as different."""
    if one is other:
        return True
    if one.tag != other.tag or type(one) is not type(other) or depth > 8:
        return False
    if isinstance(one, yaml.ScalarNode):
        return bool(one.value == other.value)
    if len(one.value) != len(other.value):
        return False
    pairs = zip(one.value, other.value, strict=True)
    if isinstance(one, yaml.MappingNode):
        return all(same(a, c, depth + 1) and same(b, d, depth + 1) for (a, b), (c, d) in pairs)
    return all(same(a, b, depth + 1) for a, b in pairs)


class Keys:
    """Takes known keys out of a mapping; what is left over at the end is unknown and said so."""

    def __init__(self, value: Value, known: tuple[str, ...]) -> None:
        self.value = value
        self.members = value.members()
        for name in self.members.keys() - set(known):
            near = difflib.get_close_matches(name, known, 1, 0.5)
            hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
            self.members[name].warn(f"unknown key, ignored{hint}")

    def take(self, name: str, read: Callable[[Value], T], default: T) -> T:
        """The value of a key as read makes it; default where it is not written."""
        return read(self.members[name]) if name in self.members else default


def load(text: str, file: str) -> Value:
    """The tree of a file. Raises ConfigError when it is no YAML at all."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        node = yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        context = f" ({error.context})" if error.context else ""
        if context and error.context_mark and error.context_mark.line + 1 != line:
            # An open quote or bracket is noticed at the end of the file, far from where it stands.
            context = f" ({error.context} that begins in line {error.context_mark.line + 1})"
        raise ConfigError([f"{file}:{line}: not YAML: {error.problem}{context}: check indentation"]) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError([f"{file}:1: not YAML: {error}".replace("\n", " ")]) from None
    if node is None:
        mark = yaml.Mark(file, 0, 0, 0, "", 0)
        node = yaml.MappingNode("tag:yaml.org,2002:map", [], mark, mark)
    return Value(node, "", Notes(file))
