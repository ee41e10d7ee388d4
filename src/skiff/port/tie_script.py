"""The text of one instruction as it lies in the file, with what must not be looked at blanked out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from skiff.model.port import Finding, Platform
from skiff.port.dockerfile import Dockerfile, Instruction
from skiff.port.tie_rules import Rules


class Edit(NamedTuple):
    """A change to the text of a file: what stands from ``start`` to ``end`` becomes ``text``."""

    start: int
    end: int
    text: str


class Tie(NamedTuple):
    """Something that ties a file to a CPU, and the changes that loosen it: none if there is no safe one."""

    kind: str
    # Where in the file.
    offset: int
    what: str
    why: str
    edits: tuple[Edit, ...] = ()
    blocks: bool = True


class Script(NamedTuple):
    """The lines of an instruction. A place in ``text`` is one in the file, ``start`` further on."""

    instruction: Instruction
    text: str
    start: int

    def line_of(self, file: Dockerfile, at: int) -> int:
        """The file's line of a place."""
        return file.place(self.start + at)[0]


class Case(NamedTuple):
    """A `case … esac` or `if … fi` of the shell that decides by CPU."""

    start: int
    end: int
    labels: tuple[str, ...]
    # What is done for all others; None if nothing is said of them.
    default: str | None


# What it decides by may have blanks: `case $(uname -m) in`.
_CASE = re.compile(r"(?<![\w./-])case\s+(?!in\b)[^;\n]{1,200}?\s+in\b")
# The line of an archive of packages that are for one CPU.
DEB_LINE = re.compile(r"(?<=\[)([^\[\]\n]{0,300}\barch=)([a-z0-9,]+)(?=[^\[\]\n]{0,300}\])")
# Characters of a line that a finding shows.
_SHOWN = 500
# Of a script; one with more is made to keep us busy. Some may be words of a message, without an end.
_MOST, _UNENDED = 100, 8
# Words that open and close; those behind a dash or within a name are none.
_ESAC = re.compile(r"(?<![\w./-])(case|esac)(?![\w./-])")
_IF = re.compile(r"(?<![\w./-])if(?=\s)")
_FI = re.compile(r"(?<![\w./-])(if|fi|then|elif|else)(?![\w./-])")
_COMMENT = re.compile(r"^[ \t]*#.*$", re.MULTILINE)


def script_of(file: Dockerfile, made: Instruction) -> Script:
    """The instruction's lines; comments are blanks."""
    # Not splitlines: it knows more ends of lines than a Dockerfile does.
    lines = [f"{line}\n" for line in file.text.split("\n")]
    start = sum(len(line) for line in lines[: made.line - 1])
    text = "".join(lines[made.line - 1 : made.end_line])
    return Script(made, _COMMENT.sub(lambda match: " " * len(match[0]), text), start)


def cases(script: Script, rules: Rules) -> tuple[Case, ...]:
    """The decisions of a script by CPU."""
    return _decisions(script.text, rules.all_words)


@lru_cache(maxsize=256)
def _decisions(script: str, words: frozenset[str]) -> tuple[Case, ...]:
    # Continued lines are one to the shell; every place stays where it is.
    text = re.sub(r"[\\`](\r?\n)", lambda match: " " * len(match[0]), script)
    return tuple([*_cases(text, words), *_ifs(text, words)])


def _cases(text: str, words: frozenset[str]) -> Iterator[Case]:
    unended = 0
    for match in islice(_CASE.finditer(text), _MOST):
        end = _esac(text, match.end())
        if end is None:
            unended += 1
            if unended == _UNENDED:
                return
            continue
        clauses = [_clause(part) for part in text[match.end() : end].split(";;") if ")" in part]
        labels = [label for names, _ in clauses for label in names]
        if any(label.strip("*") in words for label in labels):
            default = next((action for names, action in clauses if "*" in names), None)
            yield Case(match.start(), end, tuple(label for label in labels if label != "*"), default)


def _ifs(text: str, words: frozenset[str]) -> Iterator[Case]:
    unended = 0
    for match in islice(_IF.finditer(text), _MOST):
        end, conditions, other = _fi(text, match.end())
        if end is None:
            unended += 1
            if unended == _UNENDED:
                return
            continue
        named = re.findall(r"[A-Za-z0-9_/-]+", " ".join(conditions))
        labels = tuple(dict.fromkeys(label for label in named if label in words))
        if labels:
            # Without an else, nothing is done for others.
            yield Case(match.start(), end, labels, other)


def without_cases(script: Script, rules: Rules) -> str:
    """The script with branches that decide by CPU blanked out: each of them is for its own."""
    text = script.text
    for case in cases(script, rules):
        text = text[: case.start] + " " * (case.end - case.start) + text[case.end :]
    return text


def decided(script: Script, at: int, rules: Rules) -> bool:
    """Whether a place is within a branch that is taken on some CPUs only."""
    return any(case.start <= at < case.end for case in cases(script, rules))


def _esac(text: str, at: int) -> int | None:
    """The end of a `case`; None if it has none."""
    depth = 1
    for match in _ESAC.finditer(text, at):
        depth += 1 if match[1] == "case" else -1
        if depth == 0:
            return match.end()
    return None


def _fi(text: str, at: int) -> tuple[int | None, list[str], str]:
    """The end of an `if`, its conditions, and what its `else` does; no end if it has none."""
    depth, start, other = 1, at, -1
    conditions: list[str] = []
    for match in _FI.finditer(text, at):
        word = match[1]
        if word in ("if", "fi"):
            depth += 1 if word == "if" else -1
        if depth == 0:
            return match.end(), conditions, text[other : match.start()] if other >= 0 else ""
        if depth == 1 and word == "then":
            conditions.append(text[start : match.start()])
        elif depth == 1 and word == "elif":
            start = match.end()
        elif depth == 1 and word == "else":
            other = match.end()
    return None, conditions, ""


def _clause(part: str) -> tuple[list[str], str]:
    names, _, action = part.partition(")")
    labels = names.strip().removeprefix("(").split("|")
    return [label.strip().strip("'\"") for label in labels], action


def covers(case: Case, platform: Platform, rules: Rules) -> bool:
    """Whether a decision has a branch for a platform, or names it in that for all others."""
    words = rules.words(platform)
    others = set(re.split(r"[^A-Za-z0-9]+", case.default or ""))
    return bool(words & others) or any(fnmatchcase(word, label) for label in case.labels for word in words)


def findings(name: str, before: str, after: str, ties: list[tuple[int, Tie]]) -> tuple[Finding, ...]:
    """The findings of a file, each with its line as it was and as it became."""
    old, new = before.split("\n"), after.split("\n")
    found = []
    for line, tie in sorted(ties, key=lambda one: one[0]):
        changed = tie.edits and line <= len(old) and old[line - 1] != new[line - 1]
        found.append(
            Finding(
                tie.kind,
                name,
                line,
                tie.what,
                tie.why,
                old[line - 1].strip()[:_SHOWN] if changed else "",
                new[line - 1].strip()[:_SHOWN] if changed else "",
                tie.blocks,
            )
        )
    return tuple(dict.fromkeys(found))


def apply_edits(text: str, edits: list[Edit]) -> str:
    """The text with changes made. Of two that overlap, the one that begins first counts."""
    out: list[str] = []
    at = 0
    for edit in sorted(set(edits), key=lambda one: (one.start, -one.end)):
        if edit.start >= at:
            out += [text[at : edit.start], edit.text]
            at = edit.end
    return "".join([*out, text[at:]])
