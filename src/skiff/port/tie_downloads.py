"""Files for one CPU that a Dockerfile fetches, their names further on, and their checksums."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache as once
from itertools import islice

from skiff.model.port import Platform
from skiff.port.dockerfile import Dockerfile
from skiff.port.tie_rules import Rules
from skiff.port.tie_script import Edit, Script, Tie, without_cases
from skiff.port.tie_variables import URL, VARIABLE, Download, held, project_of, variable_ties

_HEX = r"[0-9a-fA-F]"
_CHECKSUM = re.compile(
    rf"(?<![0-9a-fA-F])({_HEX}{{128}}|{_HEX}{{96}}|{_HEX}{{64}}|{_HEX}{{40}}|{_HEX}{{32}})(?![0-9a-fA-F])"
)
# The name of a variable, before its value.
_BEFORE = re.compile(r"(\w+)(?:=|[ \t]+)[\"']?(?:[a-z0-9]+:)?$")
_SUMS = re.compile(r"\b(?:sha\d*sum|md5sum|shasum|b2sum)\b")
# Systems that no stage of ours runs.
_ELSEWHERE = re.compile(r"(?i)(?<![a-z])(windows|win64|win32|darwin|macos|osx|freebsd)(?![a-z])")
# Variables that stand in addresses; a file with more is made to keep us busy.
_MOST = 500
# As the last part of a name.
_SYSTEM = re.compile(r"(?<=[-_.])linux[-_][A-Za-z0-9_]+$")
_PACKED = re.compile(r"\.(tar(\.\w+)?|tgz|txz|tbz2?|zip|gz|xz|bz2|zst|deb|rpm|apk|sh|bin|run)$")


@once
def word_pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    """Finds the words where they stand by themselves."""
    choices = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<![A-Za-z0-9])(?:{choices})(?![A-Za-z0-9])")


def download_ties(
    file: Dockerfile, scripts: Sequence[Script], platform: Platform, rules: Rules
) -> Iterator[Tie]:
    """Ties of addresses, of variables in them, of names of the files, and of checksums."""
    pattern = word_pattern(rules.foreign(platform))
    names: dict[str, str] = {}
    folders: dict[int, dict[str, str]] = defaultdict(dict)
    edited: set[int] = set()

    @once
    def fetched_too(url: str) -> bool:
        return any(pattern.sub(word, url) in file.text for word in rules.words(platform))

    for script in scripts:
        values = held(file, script)
        for match in URL.finditer(without_cases(script, rules)):
            found = _download(script, match, values, pattern, platform, rules)
            # Where the target's file is fetched as well, the Dockerfile chooses by itself.
            if found is not None and not fetched_too(found.url):
                names.update(_file_names(found))
                folders[script.start].update(_folder(found))
                yield _tie(found, platform, rules)
                yield from _checksums(file, scripts, found, platform, rules)
    for tie, found in islice(variable_ties(file, scripts, pattern, platform, rules), _MOST):
        names.update(_file_names(found))
        folders[found.script.start].update(_folder(found))
        edited |= {edit.start for edit in tie.edits}
        yield tie
        yield from _checksums(file, scripts, found, platform, rules)
    for script in scripts:
        for tie in _used_names(script, {**folders[script.start], **names}, platform):
            if tie.offset not in edited:
                yield tie


def _download(
    script: Script,
    match: re.Match[str],
    values: Mapping[str, str],
    pattern: re.Pattern[str],
    platform: Platform,
    rules: Rules,
) -> Download | None:
    url = match[0].rstrip(".,")
    words = tuple(dict.fromkeys(pattern.findall(url)))
    if not words or _ELSEWHERE.search(url):
        return None
    project = project_of(url, values, rules)
    new = ""
    word = rules.project_word(project, platform) if project is not None else ""
    # A word that is not the project's own means something else in the address.
    if project is not None and word and rules.project_words(project).issuperset(words):
        new = pattern.sub(lambda _: word, url)
    return Download(script, match.start(), url, words, new, project)


def _tie(found: Download, platform: Platform, rules: Rules) -> Tie:
    offset = found.script.start + found.at
    what = f"fetches a file for {' and '.join(found.words)}: {found.url}"
    if found.new:
        assert found.project is not None
        edit = Edit(offset, offset + len(found.url), found.new)
        return Tie("download", offset, what, f"{found.project.name} has one for {platform}", (edit,), False)
    if found.project is None:
        why = f"no rule tells how this project names its file for {platform}; port.toml can"
    elif rules.project_word(found.project, platform):
        why = f"not named as {found.project.name} names its files"
    else:
        why = f"{found.project.name} has no file for {platform}"
    return Tie("download", offset, what, why)


def _file_names(found: Download) -> dict[str, str]:
    """Names by which the script goes on with the file: its own, and that of what is packed in it."""
    old, new = (found.was or found.url).rpartition("/")[2], found.new.rpartition("/")[2]
    if not new or old == new:
        return {}
    return {old: new, _PACKED.sub("", old): _PACKED.sub("", new)}


def _folder(found: Download) -> dict[str, str]:
    """The folder of a packed tree that is called by system and CPU alone, as Helm's is: `linux-amd64`."""
    names = [_SYSTEM.search(_PACKED.sub("", url)) for url in (found.was or found.url, found.new)]
    old, new = ("" if match is None else match[0] for match in names)
    return {old: new} if old and new and old != new else {}


def _used_names(script: Script, names: dict[str, str], platform: Platform) -> Iterator[Tie]:
    """The file under its old name, where it is not part of an address."""
    if not names:
        return
    choices = "|".join(re.escape(name) for name in sorted(names, key=lambda name: -len(name)))
    pattern = re.compile(
        rf"(?<![A-Za-z0-9_/-])(?:{choices})(?![A-Za-z0-9_])|(?<=/)(?:{choices})(?![A-Za-z0-9_])"
    )
    urls = [range(match.start(), match.end()) for match in URL.finditer(script.text)]
    for match in pattern.finditer(script.text):
        if not any(match.start() in url for url in urls):
            offset = script.start + match.start()
            edit = Edit(offset, offset + len(match[0]), names[match[0]])
            what = f"uses it: {match[0]}"
            yield Tie("download", offset, what, f"for {platform} it is another", (edit,), False)


def _checksums(
    file: Dockerfile, scripts: Sequence[Script], found: Download, platform: Platform, rules: Rules
) -> Iterator[Tie]:
    """Checksums of the file that is no longer fetched: in its instruction, or in a variable used there."""
    if not found.new:
        return
    for script, match in _places(scripts, found):
        offset, old = script.start + match.start(), match[0]
        new = rules.checksum(old, platform)
        where = _published(found)
        if new:
            edit = Edit(offset, offset + len(old), new)
            yield Tie(
                "checksum", offset, f"checksum of the file for {found.words[0]}", "given", (edit,), False
            )
            continue
        why = f"it is not that of {found.new}: the build stops there until port.toml gives it"
        what = f"checksum of the file for {found.words[0]}: {old[:16]}…"
        yield Tie("checksum", offset, what, f"{why}{where}")


def _published(found: Download) -> str:
    if found.project is None or not found.project.checksums:
        return ""
    folder, _, name = found.new.rpartition("/")
    place = found.project.checksums.replace("{url}", found.new).replace("{folder}", folder)
    return f"; {found.project.name} publishes it at {place.replace('{file}', name)}"


def _places(scripts: Sequence[Script], found: Download) -> Iterator[tuple[Script, re.Match[str]]]:
    """Checksums that may be the file's: beside its address, where it is checked, in variables used there."""
    own = found.script
    names = set(VARIABLE.findall(own.text))
    for script in scripts:
        keyword = script.instruction.keyword
        if script.start == own.start or (keyword == "RUN" and _checks(script, found)):
            names |= set(VARIABLE.findall(script.text))
            urls = [range(match.start(), match.end()) for match in URL.finditer(script.text)]
            # Part of an address it may be a commit.
            matches = _CHECKSUM.finditer(script.text)
            yield from ((script, one) for one in matches if not any(one.start() in url for url in urls))
    for script in scripts:
        if script.instruction.keyword in ("ENV", "ARG") and script.start != own.start:
            for match in _CHECKSUM.finditer(script.text):
                before = _BEFORE.search(script.text[max(0, match.start() - 200) : match.start()])
                if before and before[1] in names:
                    yield script, match


def _checks(script: Script, found: Download) -> bool:
    """Whether another instruction checks the file that ADD brought."""
    made = found.script.instruction
    if made.keyword != "ADD" or not _SUMS.search(script.text):
        return False
    files = {found.url.rpartition("/")[2], made.words[-1].rpartition("/")[2]} - {""}
    return any(re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])", script.text) for name in files)
