"""Finds what ties a Dockerfile to one CPU, and loosens what is known to be safe to loosen."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from skiff.model.port import Finding, Platform
from skiff.port.dockerfile import Dockerfile, parse
from skiff.port.reference import HUB
from skiff.port.stages import Stage, choose, needed, read_stages
from skiff.port.tie_downloads import download_ties, word_pattern
from skiff.port.tie_files import file_ties
from skiff.port.tie_rules import Rules
from skiff.port.tie_script import Edit, Script, Tie, apply_edits, cases, covers, findings, script_of
from skiff.port.trees import Tree

_LOOKED_AT = ("RUN", "ADD", "COPY", "ENV", "ARG")
_X86 = ("amd64", "386")
_ARM = ("arm", "arm64")
_REFUSES = re.compile(r"\bexit\s+[1-9]|\bfalse\b|\breturn\s+[1-9]|unsupported|unknown|not supported", re.I)
_DEB_LINE = re.compile(r"(?<=\[)([^\[\]\n]{0,300}\barch=)([a-z0-9,]+)(?=[^\[\]\n]{0,300}\])")
_QUALIFIED = re.compile(r"(?<![\w/:.-])([a-z0-9][a-z0-9.+-]+):([a-z0-9]+)(?=[\s;&|\\=]|$)")
_ADDED = re.compile(r"--add-architecture[\s\\]+([a-z0-9]+)")
_OPENJDK = re.compile(r"(?<=-openjdk-)([a-z0-9]+)(?![\w-])")


class Ties(msgspec.Struct, frozen=True):
    """What was found, and the text without the ties that could be loosened."""

    text: str
    # A unified diff of that; empty when nothing changed.
    diff: str
    findings: tuple[Finding, ...]
    # The same if nothing is to be changed.
    refused: tuple[Finding, ...]


def examine(
    file: Dockerfile,
    tree: Tree,
    args: Mapping[str, str],
    target: str,
    platform: Platform,
    build: Platform,
    rules: Rules,
    keep: str = "",
) -> Ties:
    """The ties of the stages that ``target`` needs and that run on ``platform``. Raises DockerfileError.

    The stage ``keep`` is for another CPU on purpose.
    """
    stages = [stage for stage in _wanted(file, args, target, platform, build) if not _is(stage, keep)]
    pinned = [tie for stage in stages for tie in _platform_ties(file, stage, platform, rules)]
    loose = file
    if pinned:
        # With these loosened, more stages may be for the target.
        loose = parse(apply_edits(file.text, [edit for tie in pinned for edit in tie.edits]), file.name)
        stages = [stage for stage in _wanted(loose, args, target, platform, build) if not _is(stage, keep)]
    # What runs on the builder may be for the builder.
    on_target = [stage for stage in stages if stage.platform == platform]
    made = [one for stage in on_target for one in (stage.start, *stage.instructions)]
    scripts = [script_of(loose, one) for one in made if one.keyword in _LOOKED_AT]
    within = list(download_ties(loose, scripts, platform, rules))
    for script in scripts:
        within += _script_ties(script, platform, rules)
    within += _word_ties(scripts, platform, rules)
    within += file_ties(made, tree, platform)
    text = apply_edits(loose.text, [edit for tie in within for edit in tie.edits])
    ties = [(file.place(tie.offset)[0], tie) for tie in pinned]
    ties += [(loose.place(tie.offset)[0], tie) for tie in within]
    refused = [(line, _left_alone(tie)) for line, tie in ties]
    return Ties(
        text,
        _diff(file.name, file.text, text),
        findings(file.name, file.text, text, ties),
        findings(file.name, file.text, file.text, refused),
    )


def _is(stage: Stage, name: str) -> bool:
    return bool(name) and stage.name == name


def _wanted(
    file: Dockerfile, args: Mapping[str, str], target: str, platform: Platform, build: Platform
) -> tuple[Stage, ...]:
    stages = read_stages(file, args, platform, build)
    return needed(file, stages, choose(file, stages, target), platform, lambda *_: ()).stages


def _left_alone(tie: Tie) -> Tie:
    """A tie that is left as it is."""
    return tie._replace(edits=(), blocks=tie.blocks or bool(tie.edits))


def _diff(name: str, before: str, after: str) -> str:
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), name, f"{name}, for this CPU"
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _platform_ties(file: Dockerfile, stage: Stage, platform: Platform, rules: Rules) -> Iterator[Tie]:
    """FROM with a platform written down, or with an image that is named for a CPU."""
    start = stage.start
    flag = start.flag("platform")
    if flag is not None and stage.platform != platform and "BUILD" not in (flag.value or ""):
        offset = start.offsets[flag.index]
        end = start.offsets[start.text_index]
        edits = (Edit(offset, end, ""),) if "\n" not in file.text[offset:end] else ()
        yield Tie(
            "platform",
            offset,
            f"FROM {flag.raw}",
            f"without it the stage is for {platform}",
            edits,
            not edits,
        )
    for match in re.finditer(r"(?<![\w./-])([a-z0-9]+)/(?=[a-z0-9])", start.text.split(None, 1)[0]):
        foreign = rules.meant(match[1]) and match[1] not in rules.words(platform)
        if foreign and stage.image is not None and stage.image.registry == HUB:
            offset = start.offsets[start.text_index + match.start()]
            edit = Edit(offset, offset + len(match[0]), "")
            what = f"FROM {stage.written}: the images below {match[0]} are for that CPU"
            yield Tie(
                "platform",
                offset,
                what,
                f"the same image by its own name is for {platform} too",
                (edit,),
                False,
            )


def _script_ties(script: Script, platform: Platform, rules: Rules) -> Iterator[Tie]:
    if script.instruction.keyword == "RUN":
        yield from _case_ties(script, platform, rules)
        yield from _package_ties(script, platform, rules)
    yield from _option_ties(script, platform, rules)


def _case_ties(script: Script, platform: Platform, rules: Rules) -> Iterator[Tie]:
    """Branches by CPU of which none is for the target."""
    for case in cases(script, rules):
        # An `if` without `else` does something more for some; the others do without.
        if covers(case, platform, rules) or case.default == "":
            continue
        what = f"decides by CPU, and knows {', '.join(case.labels)} only"
        if case.default is None or _REFUSES.search(case.default):
            yield Tie("arch-map", script.start + case.start, what, f"it has no branch for {platform}")
        else:
            why = f"{platform} takes the branch for all others"
            yield Tie("arch-map", script.start + case.start, what, why, blocks=False)


def _package_ties(script: Script, platform: Platform, rules: Rules) -> Iterator[Tie]:
    """Packages of another CPU, and lines of an archive that are for one."""
    arch = platform.debian
    debian = arch.debian if arch else ""
    names = "|".join(rules.file.packages.patterns)
    for match in re.finditer(rf"(?<![\w/.:-])(?:{names})(?![\w/.-])", script.text):
        if platform.arch not in _X86:
            offset = script.start + match.start()
            yield Tie("packages", offset, f"package {match[0]}", "it brings a second CPU's libraries")
    for match in _ADDED.finditer(script.text):
        if match[1] != debian:
            yield Tie(
                "packages", script.start + match.start(), match[0], "programs for it do not run on the target"
            )
    foreign = {arch for arch in rules.file.conventions["debian"].values() if arch != debian}
    for match in _QUALIFIED.finditer(script.text):
        if match[2] == "amd64" and match[2] in foreign:
            start = script.start + match.end(1)
            edit = Edit(start, script.start + match.end(), "")
            yield Tie("packages", start, f"package {match[0]}", "the target's own is meant", (edit,), False)
        elif match[2] in foreign:
            yield Tie(
                "packages", script.start + match.start(), f"package {match[0]}", "it is for another CPU"
            )
    for match in _DEB_LINE.finditer(script.text):
        if debian and match[2] in foreign:
            start = script.start + match.start(2)
            edit = Edit(start, start + len(match[2]), debian)
            why = f"the archive must have {debian}"
            yield Tie("packages", start, f"an archive's line for {match[2]}", why, (edit,), False)


def _option_ties(script: Script, platform: Platform, rules: Rules) -> Iterator[Tie]:
    """Compiler options for another family of CPUs."""
    for family, own in (("x86", _X86), ("arm", _ARM)):
        if platform.arch in own:
            continue
        choices = "|".join(rules.file.options.get(family, ()))
        for match in re.finditer(rf"(?<=[\s\"'=,])(?:{choices})(?=[\s\"',;\\]|$)", script.text):
            if _decided(script, match.start(), rules):
                continue
            start = script.start + match.start()
            end = script.start + match.end()
            # One space goes with it.
            end += match.end() < len(script.text) and script.text[match.end()] == " "
            why = "the compiler takes what suits the target; code written for that option does not compile"
            yield Tie("flags", start, f"compiler option {match[0]}", why, (Edit(start, end, ""),), False)


def _word_ties(scripts: Sequence[Script], platform: Platform, rules: Rules) -> Iterator[Tie]:
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
                if match[0] != own and not _decided(script, at, rules) and not _in_url(script.text, at):
                    yield _word_tie(script, match, own, platform)
    for script in scripts:
        for match in _OPENJDK.finditer(script.text):
            if arch and match[1] != arch.debian and rules.meant(match[1]):
                yield _word_tie(script, match, arch.debian, platform)


def _word_tie(script: Script, match: re.Match[str], own: str, platform: Platform) -> Tie:
    start = script.start + match.start()
    edit = Edit(start, start + len(match[0]), own)
    return Tie(
        "word", start, f"{match[0]} is the name of a CPU", f"for {platform} it is {own}", (edit,), False
    )


def _decided(script: Script, at: int, rules: Rules) -> bool:
    """Whether a place is within a branch that is taken on some CPUs only."""
    return any(case.start <= at < case.end for case in cases(script, rules))


def _in_url(text: str, at: int) -> bool:
    before = text[max(0, at - 500) : at]
    return "://" in re.split(r"[\s\"'=]", before)[-1]
