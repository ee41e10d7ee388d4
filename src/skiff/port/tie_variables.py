"""Variables that stand in addresses: what they hold, and those that hold the name of another CPU."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from skiff.model.port import Platform
from skiff.port.dockerfile import Dockerfile
from skiff.port.tie_rules import Project, Rules
from skiff.port.tie_script import DEB_LINE, Edit, Script, Tie, script_of, without_cases

URL = re.compile(r"\b(?:https?|ftp)://[^\s\"'`\\;|&()<>]+")
VARIABLE = re.compile(r"\$\{?(\w+)")
_PUT_IN = re.compile(r"\$(?:(\w+)|\{(\w+)(?::?[-+#%/][^{}]*)?\})")
_ASSIGNED = re.compile(r"(?<![\w$.-])([A-Za-z_]\w*)=([\"']?)([^\s\"';|&\\()`]{1,300})\2(?=[\s;|&\\]|$)")
_SPACED = re.compile(r"(?<=[\s])([A-Za-z_]\w*)[ \t]+([\"']?)([^\s\"';|&\\()`]{1,300})\2(?=[\s;|&\\]|$)")
# Set by the builder, whatever the Dockerfile says.
_BUILDERS = ("TARGETARCH", "TARGETPLATFORM", "TARGETVARIANT", "TARGETOS")
# A variable can hold others; deeper than this nobody writes, and longer is made to keep us busy.
_DEEP, _LONG, _MOST, _ADDRESSES = 4, 2000, 2000, 30


class Download(NamedTuple):
    """An address in a script, with words for another CPU in it or in its variables."""

    script: Script
    at: int
    url: str
    words: tuple[str, ...]
    # What it becomes; empty if there is no safe rewrite.
    new: str
    project: Project | None
    # What it was, where that is not how it is written: with its variables put in, as `new` is then.
    was: str = ""


class _Assignment(NamedTuple):
    """``NAME=value`` in a script, and where the value begins in it."""

    name: str
    value: str
    at: int


def held(file: Dockerfile, script: Script) -> dict[str, str]:
    """What variables hold in a script: those of ARG and ENV, and what it sets itself."""
    values = {
        pair.key: (pair.value or "").strip("\"'")
        for made in file.instructions
        for pair in made.pairs
        if made.keyword in ("ARG", "ENV") and pair.value
    }
    return values | {one.name: one.value for one in _assignments(script) if one.name not in _BUILDERS}


def filled(text: str, values: Mapping[str, str]) -> str:
    """A text with its variables put in; those without a value stay."""
    for _ in range(_DEEP):
        before = text
        text = _PUT_IN.sub(lambda match: values.get(match[1] or match[2]) or match[0], text)
        if text == before or len(text) > _LONG:
            break
    return text[:_LONG]


def project_of(url: str, values: Mapping[str, str], rules: Rules) -> Project | None:
    """Whose address it is, as it is written or with its variables put in; None if no rule knows it."""
    return rules.project(url) or rules.project(filled(url, values))


def variable_ties(
    file: Dockerfile, scripts: Sequence[Script], pattern: re.Pattern[str], platform: Platform, rules: Rules
) -> Iterator[tuple[Tie, Download]]:
    """Variables that hold a word for another CPU and stand in an address; with what is fetched from there."""
    everywhere: dict[str, list[Download]] = defaultdict(list)
    within: dict[int, dict[str, list[Download]]] = defaultdict(lambda: defaultdict(list))
    for script in scripts:
        values = held(file, script)
        # What a command sets is its own, and gone in the next one.
        local = {one.name for one in _assignments(script)} if _is_command(script) else set()
        for match in URL.finditer(script.text):
            for name in _names(match[0], values):
                for places in (within[script.start], *(() if name in local else (everywhere,))):
                    if len(places[name]) < _ADDRESSES:
                        places[name].append(Download(script, match.start(), match[0], (), "", None))
    for script in _definitions(file, scripts):
        used = within[script.start] if _is_command(script) else everywhere
        values = held(file, script)
        for one in _assignments(script._replace(text=without_cases(script, rules))):
            if one.name in used and one.name not in _BUILDERS and pattern.search(one.value):
                values[one.name] = one.value
                yield from _ties(script, one, used[one.name], values, pattern, platform, rules)


def _is_command(script: Script) -> bool:
    return script.instruction.keyword not in ("ARG", "ENV")


def _ties(
    script: Script,
    one: _Assignment,
    used: Sequence[Download],
    values: Mapping[str, str],
    pattern: re.Pattern[str],
    platform: Platform,
    rules: Rules,
) -> Iterator[tuple[Tie, Download]]:
    """A tie for each address that a variable stands in; it is put right if that is right in all of them."""
    offset = script.start + one.at
    words = tuple(dict.fromkeys(pattern.findall(one.value)))
    projects = [project_of(found.url, values, rules) for found in used]
    becomes = [_word(project, words, platform, rules) for project in projects]
    new = pattern.sub(lambda _: becomes[0][0], one.value)
    same = len({word for word, _ in becomes}) == 1
    for found, project, (word, why) in zip(used, projects, becomes, strict=True):
        what = f"{one.name} is {one.value}, and stands in an address: {found.url}"
        whole = found._replace(words=words, project=project)
        if word and same:
            edit = Edit(offset, offset + len(one.value), new)
            was, url = (filled(found.url, {**values, one.name: value}) for value in (one.value, new))
            yield Tie("download", offset, what, why, (edit,), False), whole._replace(new=url, was=was)
        else:
            why += f", named {word}; another address with {one.name} needs another name" if word else ""
            yield Tie("download", offset, what, why), whole


def _word(project: Project | None, words: Sequence[str], platform: Platform, rules: Rules) -> tuple[str, str]:
    """What a project calls the platform in place of these words, and why; an empty word if that is unsafe."""
    if project is None:
        return "", f"no rule tells how this project names its file for {platform}; port.toml can"
    word = rules.project_word(project, platform)
    if not word:
        return "", f"{project.name} has no file for {platform}"
    if not rules.project_words(project).issuperset(words):
        return "", f"not named as {project.name} names its files"
    return word, f"{project.name} has a file for {platform}"


def _names(url: str, values: Mapping[str, str]) -> set[str]:
    """The variables of an address, and those that they hold themselves."""
    found: set[str] = set()
    waiting = VARIABLE.findall(url)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += VARIABLE.findall(values.get(name, ""))
    return found


def _assignments(script: Script) -> Iterator[_Assignment]:
    archives = [range(match.start(), match.end()) for match in DEB_LINE.finditer(script.text)]
    forms = [_ASSIGNED, _SPACED] if script.instruction.keyword == "ENV" else [_ASSIGNED]
    for form in forms:
        for match in islice(form.finditer(script.text), _MOST):
            # `[arch=amd64]` of an archive is no variable, and an address is looked at as one.
            if "://" not in match[3] and not any(match.start(1) in place for place in archives):
                yield _Assignment(match[1], match[3], match.start(3))


def _definitions(file: Dockerfile, scripts: Sequence[Script]) -> Iterator[Script]:
    """Scripts, and the ARGs before the first FROM: they can hold a word for a CPU too."""
    for made in file.instructions:
        if made.keyword == "FROM":
            break
        yield script_of(file, made)
    yield from scripts
