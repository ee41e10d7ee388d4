"""Which images a Dockerfile starts from or copies from, so that they are there before it is built.

What cannot be told here is left out: the build fetches it by itself, or tells what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_FROM = re.compile(r"^FROM\s+(?:--platform=\S+\s+)?(\S+)(?:\s+AS\s+(\S+))?\s*$", re.IGNORECASE)
# What a step takes as its own options, and which image they name.
_FLAGS = re.compile(r"^(?:COPY|RUN)((?:\s+--\S+)+)", re.IGNORECASE)
_COPY_FROM = re.compile(r"--from=(\S+)|[,=]from=([^,\s]+)")
_ARG = re.compile(r"^ARG\s+(.*)", re.IGNORECASE)
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?:(:?[-+])([^{}$]*))?\})")
# As the engine takes it: nothing of a variable is left, and a colon has its tag.
_REFERENCE = re.compile(r"[\w./:@-]*\w", re.ASCII)
# An escape at the end of a line, unless it is escaped itself.
_CONTINUED = re.compile(r"(?<!\\)\\[ \t]*$")
_TAKES_DOCUMENTS = re.compile(r"(?:ONBUILD\s+)?(?:RUN|COPY|ADD)\s", re.IGNORECASE)
_WORD = re.compile(r"""(?:\\.|'[^']*'|"(?:\\.|[^"\\])*"|[^\s'"\\])+""")
_DOCUMENT = re.compile(r"\d*<<(-?+)([^<]+)")


def bases(text: str, args: dict[str, str]) -> list[str]:
    """Images that a Dockerfile starts from or copies from, in order; stages and `scratch` are none."""
    known = dict(args)
    stages: set[str] = set()
    found: dict[str, None] = {}
    for line in _instructions(text):
        if (match := _ARG.match(line)) and not stages:
            for word in _WORD.findall(match[1]):
                name, equals, value = word.partition("=")
                if equals:
                    known.setdefault(name, _expanded(value.strip("\"'"), known))
        elif match := _FROM.match(line):
            reference = _expanded(match[1], known)
            if reference.lower() not in stages and reference != "scratch":
                found[reference] = None
            stages.add((match[2] or f"#{len(stages)}").lower())
        elif match := _FLAGS.match(line):
            for one, other in _COPY_FROM.findall(match[1]):
                reference = _expanded(one or other, known)
                if reference.lower() not in stages and not reference.isdigit():
                    found[reference] = None
    return list(filter(_REFERENCE.fullmatch, found))


def _instructions(text: str) -> Iterator[str]:
    """Each instruction on one line, without comments and without the lines of here-documents."""
    lines = iter(text.replace("\r\n", "\n").split("\n"))
    whole = ""
    for line in lines:
        # Also between lines that are one.
        if line.lstrip().startswith("#") or not line.strip():
            continue
        if match := _CONTINUED.search(line):
            whole += line[: match.start()]
            continue
        instruction, whole = (whole + line).strip(), ""
        yield instruction
        for tabs, name in _documents(instruction):
            for inside in lines:
                if inside.lstrip(tabs) == name:
                    break
    yield whole.strip()


def _documents(line: str) -> Iterator[tuple[str, str]]:
    """Of each here-document that an instruction opens: what may be before the name at its end, and that."""
    # With an open quote there is none.
    if not _TAKES_DOCUMENTS.match(line) or _WORD.sub("", line).strip():
        return
    # Between the signs and the name there may be blanks.
    for word in _WORD.findall(re.sub(r"<<\s+", "<<", line)):
        match = _DOCUMENT.fullmatch(word)
        if match and (name := re.sub(r"[\\'\"]", "", match[2])):
            yield "\t" if match[1] else "", name


def _expanded(text: str, known: dict[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        found, how, other = known.get(match[1] or match[2]), match[3] or "", match[4] or ""
        # With a colon, empty is as good as not set.
        is_set = bool(found) if ":" in how else found is not None
        if how.endswith("+"):
            return other if is_set else ""
        return (found or "") if is_set or not how else other

    return _VARIABLE.sub(value, text)
