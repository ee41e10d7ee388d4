"""Names of a CPU that stand by themselves: those that mean "here", settings of build tools, and others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from skiff.model.port import Platform
from skiff.port.dockerfile import Dockerfile
from skiff.port.tie_downloads import word_pattern
from skiff.port.tie_rules import Rules, Setting
from skiff.port.tie_script import Edit, Script, Tie, decided
from skiff.port.tie_variables import URL

_X86 = ("amd64", "386")
_OPENJDK = re.compile(r"(?<=-openjdk-)([a-z0-9]+)(?![\w-])")
# A stage that says what it compiles for asks the builder for it.
_ASKS = re.compile(r"TARGET(?:ARCH|PLATFORM)|\bxx-")


def word_ties(scripts: Sequence[Script], platform: Platform, rules: Rules) -> Iterator[Tie]:
    """Names that mean a CPU wherever they stand: GNU and Rust triples, Java's folders of Debian."""
    arch = platform.debian
    for convention in rules.file.everywhere.conventions:
        own = rules.word(convention, platform)
        pattern = word_pattern(tuple(dict.fromkeys(rules.file.conventions[convention].values())))
        found = {word for script in scripts for word in pattern.findall(script.text)}
        # Of several, each is meant; who names ARM compiles for it; who names x86 mostly meant "here".
        x86 = {rules.word(convention, Platform("linux", arch)) for arch in _X86}
        if not own or len(found) != 1 or (platform.arch not in _X86 and not found <= x86):
            continue
        for script in scripts:
            for match in pattern.finditer(script.text):
                at = match.start()
                if match[0] != own and not decided(script, at, rules) and not _in_url(script.text, at):
                    yield _word_tie(script, match.start(), match[0], own, platform)
    for script in scripts:
        for match in _OPENJDK.finditer(script.text):
            if arch and match[1] != arch.debian and rules.meant(match[1]):
                yield _word_tie(script, match.start(), match[0], arch.debian, platform)


def _word_tie(script: Script, at: int, word: str, own: str, platform: Platform) -> Tie:
    start = script.start + at
    what = f"{word} is the name of a CPU"
    return Tie(
        "word", start, what, f"for {platform} it is {own}", (Edit(start, start + len(word), own),), False
    )


def setting_ties(scripts: Sequence[Script], platform: Platform, rules: Rules) -> Iterator[Tie]:
    """Settings of build tools: `GOARCH=amd64`, `dotnet publish -r linux-x64`."""
    for setting in rules.file.setting:
        own = rules.setting_word(setting, platform)
        named = [match["word"] for script in scripts for match in re.finditer(setting.match, script.text)]
        # Of several, each is meant.
        if len({word for word in named if rules.meant(word)}) != 1:
            continue
        for script, match in _set(setting, scripts, platform, rules):
            what = f"{match[0].strip()}: tells {setting.name} that the CPU is {match['word']}"
            start = script.start + match.start("word")
            if own:
                edit = Edit(start, start + len(match["word"]), own)
                yield Tie("word", start, what, f"for {platform} it is {own}", (edit,), False)
            else:
                yield Tie("word", start, what, f"{setting.name} has no name for {platform}")


def cross_ties(scripts: Sequence[Script], platform: Platform, rules: Rules) -> Iterator[Tie]:
    """The same in a stage that runs on the builder, and does not ask for what: it may be meant."""
    if any(_ASKS.search(script.text) for script in scripts):
        return
    for setting in rules.file.setting:
        for script, match in _set(setting, scripts, platform, rules):
            what = f"{match[0].strip()}: tells {setting.name} that the CPU is {match['word']}"
            why = f"in a stage for the builder's CPU; where {platform} is meant, ARG TARGETARCH tells it"
            yield Tie("word", script.start + match.start("word"), what, why, blocks=False)


def _set(
    setting: Setting, scripts: Sequence[Script], platform: Platform, rules: Rules
) -> Iterator[tuple[Script, re.Match[str]]]:
    """Where a setting names an x86 CPU (or, when that is the target, any other one)."""
    for script in scripts:
        for match in re.finditer(setting.match, script.text):
            meant = {one.arch for one in rules.meant(match["word"])}
            fits = match["word"] in rules.words(platform)
            here = platform.arch in _X86 or bool(meant & set(_X86))
            if meant and not fits and here and not decided(script, match.start(), rules):
                yield script, match


def left_over(
    file: Dockerfile, scripts: Sequence[Script], told: Sequence[Tie], platform: Platform, rules: Rules
) -> Iterator[Tie]:
    """Words for another CPU that no rule knows what to do with, where the target is not named beside them."""
    everywhere = rules.file.everywhere.conventions
    known = {word for name in everywhere for word in rules.file.conventions[name].values()}
    pattern = word_pattern(rules.foreign(platform))
    own = word_pattern(tuple(sorted(rules.words(platform))))
    lines = {
        (file.place(tie.offset)[0], word)
        for tie in told
        for word in (() if tie.edits else pattern.findall(tie.what))
    }
    edits = [range(edit.start, edit.end) for tie in told for edit in tie.edits]
    for script in scripts:
        text = URL.sub(lambda match: " " * len(match[0]), script.text)
        found = [match for match in pattern.finditer(text) if match[0] not in known]
        x86 = any({one.arch for one in rules.meant(match[0])} & set(_X86) for match in found)
        # Who names the target chooses; who names ARM alone compiles for it.
        if own.search(text) or not (x86 or platform.arch in _X86):
            continue
        for match in found:
            offset = script.start + match.start()
            place = (file.place(offset)[0], match[0])
            changed = any(offset in edit for edit in edits)
            if place not in lines and not changed and not decided(script, match.start(), rules):
                lines.add(place)
                yield _note(offset, match[0], platform)


def _note(offset: int, word: str, platform: Platform) -> Tie:
    why = f"no rule tells what it is here for; {platform} is not named beside it"
    return Tie("word", offset, f"{word} is named", why, blocks=False)


def _in_url(text: str, at: int) -> bool:
    before = text[max(0, at - 500) : at]
    return "://" in re.split(r"[\s\"'=]", before)[-1]
