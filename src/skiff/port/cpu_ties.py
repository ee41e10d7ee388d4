"""Finds what ties a Dockerfile to one CPU, and loosens what is known to be safe to loosen."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from skiff.model.port import Finding, Platform
from skiff.port.dockerfile import Dockerfile, Instruction, parse
from skiff.port.reference import HUB
from skiff.port.stages import Stage, choose, needed, read_stages
from skiff.port.tie_downloads import download_ties
from skiff.port.tie_files import file_ties
from skiff.port.tie_rules import Rules
from skiff.port.tie_script import (
    DEB_LINE,
    Edit,
    Script,
    Tie,
    apply_edits,
    cases,
    covers,
    decided,
    findings,
    script_of,
)
from skiff.port.tie_words import cross_ties, left_over, setting_ties, word_ties
from skiff.port.trees import Tree

# What is run while the image is built, and what its containers run.
_LOOKED_AT = ("RUN", "ADD", "COPY", "ENV", "ARG", "WORKDIR", "VOLUME", "ENTRYPOINT", "CMD", "HEALTHCHECK")
# What the builder sets, unless a Dockerfile gives it a value of its own.
_BUILDERS = ("TARGETARCH", "TARGETPLATFORM")
_X86 = ("amd64", "386")
_ARM = ("arm", "arm64")
_REFUSES = re.compile(r"\bexit\s+[1-9]|\bfalse\b|\breturn\s+[1-9]|unsupported|unknown|not supported", re.I)
_QUALIFIED = re.compile(r"(?<![\w/:.-])([a-z0-9][a-z0-9.+-]+):([a-z0-9]+)(?=[\s;&|\\=]|$)")
# What an image's name begins with, a variable included.
_OWNER = re.compile(r"(?:docker\.io/)?((?:[a-z0-9]+|\$\w+|\$\{[^{}/\s]*\})/)")
# The end of an image's name, or a part of its tag.
_NAMED_FOR = re.compile(r"(?<=[-_])(amd64|x86_64|x64|i386)(?=$|[-_:@])")
_ADDED = re.compile(r"--add-architecture[\s\\]+([a-z0-9]+)")


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
    place: str = "Dockerfile",
) -> Ties:
    """The ties of the stages that ``target`` needs and that run on ``platform``. Raises DockerfileError.

    The stage ``keep`` is for another CPU on purpose. ``place`` is where the file lies in ``tree``.
    """
    stages = [stage for stage in _wanted(file, args, target, platform, build) if not _is(stage, keep)]
    pinned = [tie for stage in stages for tie in _platform_ties(file, stage, platform, rules)]
    pinned += _argument_ties(file, platform, rules)
    loose = file
    if pinned:
        # With these loosened, more stages may be for the target.
        loose = parse(apply_edits(file.text, [edit for tie in pinned for edit in tie.edits]), file.name)
        stages = [stage for stage in _wanted(loose, args, target, platform, build) if not _is(stage, keep)]
    # What runs on the builder may be for the builder.
    on_target = [stage for stage in stages if stage.platform == platform]
    made = [one for stage in on_target for one in (stage.start, *stage.instructions)]
    scripts = _scripts(loose, made)
    within = list(download_ties(loose, scripts, platform, rules))
    for script in scripts:
        within += _script_ties(script, platform, rules)
    within += _name_ties(on_target, platform, rules)
    within += word_ties(scripts, platform, rules)
    within += setting_ties(scripts, platform, rules)
    within += file_ties(made, tree, place, platform)
    within += left_over(loose, scripts, within, platform, rules)
    for stage in stages:
        if stage.platform != platform:
            within += cross_ties(_scripts(loose, stage.instructions), platform, rules)
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


def _scripts(file: Dockerfile, made: Iterable[Instruction]) -> list[Script]:
    """The scripts of instructions, and of those that ONBUILD holds back."""
    found = [one.trigger or one for one in made]
    return [script_of(file, one) for one in found if one.keyword in _LOOKED_AT]


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
    yield from _owner_ties(stage, platform, rules)


def _owner_ties(stage: Stage, platform: Platform, rules: Rules) -> Iterator[Tie]:
    """FROM with an image below the name of a CPU: `amd64/debian`, `${ARCH}/debian`."""
    match = _OWNER.match(stage.start.text)
    owner = stage.written.removeprefix("docker.io/").partition("/")[0]
    if match is None or stage.image is None or stage.image.registry != HUB:
        return
    if rules.meant(owner) and owner not in rules.words(platform):
        offset = stage.start.offsets[stage.start.text_index + match.start(1)]
        edit = Edit(offset, offset + len(match[1]), "")
        what = f"FROM {stage.written}: the images below {owner}/ are for that CPU"
        why = f"the same image by its own name is for {platform} too"
        yield Tie("platform", offset, what, why, (edit,), False)


def _name_ties(stages: Iterable[Stage], platform: Platform, rules: Rules) -> Iterator[Tie]:
    """FROM with an image whose name ends in a CPU: `pause-amd64`."""
    for stage in stages:
        match = _NAMED_FOR.search(stage.written) if stage.image is not None else None
        if match is not None and match[1] not in rules.words(platform):
            offset = stage.start.offsets[stage.start.text_index]
            why = f"where there is one for {platform}, it has another name"
            yield Tie("platform", offset, f"FROM {stage.written}: named for {match[1]}", why, blocks=False)


def _argument_ties(file: Dockerfile, platform: Platform, rules: Rules) -> Iterator[Tie]:
    """`ARG TARGETARCH=amd64`: the value counts, and not what the builder would set."""
    for made in file.instructions:
        for pair in made.pairs if made.keyword == "ARG" else ():
            value = (pair.value or "").strip("\"'")
            if pair.key not in _BUILDERS or not rules.meant(value.removeprefix("linux/")):
                continue
            start = made.offsets[pair.index]
            end = start + len(pair.value or "")
            own = platform.arch if pair.key == "TARGETARCH" else str(platform)
            if Platform.parse(value).arch != platform.arch and file.text[start:end] == pair.value:
                # Without any value it would be empty to older builders, above the first FROM.
                edit = Edit(start, end, own)
                what = f"ARG {pair.key}={value}"
                yield Tie(
                    "platform",
                    start,
                    what,
                    "this value counts, and not what the builder sets",
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
    lacking = [case for case in cases(script, rules) if not covers(case, platform, rules)]
    # An `if` without `else` does something more for some; the others may do without.
    bare = [case for case in lacking if case.default == ""]
    for case in lacking:
        if case in bare:
            continue
        what = f"decides by CPU, and knows {', '.join(case.labels)} only"
        if case.default is None or _REFUSES.search(case.default):
            yield Tie("arch-map", script.start + case.start, what, f"it has no branch for {platform}")
        else:
            why = f"{platform} takes the branch for all others"
            yield Tie("arch-map", script.start + case.start, what, why, blocks=False)
    labels = tuple(dict.fromkeys(label for case in bare for label in case.labels))
    if len({one.arch for label in labels for one in rules.meant(label)}) > 1:
        # One after the other they are a choice.
        what = f"does something for {', '.join(labels)} each"
        why = f"and nothing for {platform}"
        yield Tie("arch-map", script.start + bare[0].start, what, why, blocks=False)


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
    for match in DEB_LINE.finditer(script.text):
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
            if decided(script, match.start(), rules):
                continue
            start = script.start + match.start()
            end = script.start + match.end()
            # One space goes with it.
            end += match.end() < len(script.text) and script.text[match.end()] == " "
            why = "the compiler takes what suits the target; code written for that option does not compile"
            # In an array an empty word would be left.
            edits = () if script.instruction.json else (Edit(start, end, ""),)
            yield Tie("flags", start, f"compiler option {match[0]}", why, edits, not edits)
