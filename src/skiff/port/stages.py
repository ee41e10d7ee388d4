"""The stages of a Dockerfile: on which image and for which platform each builds, and which are needed."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping

import msgspec

from skiff.host.errors import UserError
from skiff.model.port import Platform, Reference
from skiff.port.dockerfile import Dockerfile, DockerfileError, Instruction, parse_trigger
from skiff.port.dockerfile.expand import ExpandError, expand
from skiff.port.dockerfile.flags import mount_options
from skiff.port.reference import parse_reference

# What an image holds back for those built on it: its triggers, by image and platform.
Triggers = Callable[[Reference, Platform], tuple[str, ...]]


class Stage(msgspec.Struct, frozen=True):
    """One FROM and what follows it."""

    index: int
    name: str
    start: Instruction
    # What it builds on: an earlier stage, an image, or neither (scratch).
    base_stage: int | None
    image: Reference | None
    # The image as the Dockerfile names it, with arguments put in.
    written: str
    platform: Platform
    instructions: tuple[Instruction, ...] = ()


class Need(msgspec.Struct, frozen=True):
    """An image that a stage needs."""

    reference: Reference
    platform: Platform
    written: str
    # FROM, COPY or RUN, and the line that it begins at.
    instruction: str
    start: int
    # Where it names the image.
    line: int
    column: int
    # A stage with nearly that name.
    near: str = ""


def platform_args(target: Platform, build: Platform) -> dict[str, str]:
    """The arguments that every build has: TARGETARCH, BUILDPLATFORM …"""
    return {
        f"{side}{part}": value
        for side, one in (("TARGET", target), ("BUILD", build))
        for part, value in (
            ("PLATFORM", str(one)),
            ("OS", one.os),
            ("ARCH", one.arch),
            ("VARIANT", one.variant),
        )
    }


def read_stages(
    file: Dockerfile, args: Mapping[str, str], target: Platform, build: Platform
) -> tuple[Stage, ...]:
    """All stages. Raises DockerfileError."""
    return tuple(_Stages(file, args, target, build).read())


class _Stages:
    def __init__(self, file: Dockerfile, args: Mapping[str, str], target: Platform, build: Platform) -> None:
        self.file = file
        self.args = args
        self.target = target
        self.values = platform_args(target, build)
        self.done: list[Stage] = []

    def read(self) -> list[Stage]:
        """Top to bottom: an argument holds for what is below it."""
        for made in self.file.instructions:
            if made.keyword == "FROM":
                self.done.append(self._stage(made))
            elif self.done:
                last = self.done[-1]
                self.done[-1] = msgspec.structs.replace(last, instructions=(*last.instructions, made))
            else:
                self._argument(made)
        return self.done

    def _argument(self, made: Instruction) -> None:
        for pair in made.pairs:
            if pair.key in self.args:
                self.values[pair.key] = self.args[pair.key]
            elif pair.value is not None:
                self.values[pair.key] = self._expand(made, pair.value, pair.index)

    def _expand(self, made: Instruction, word: str, index: int) -> str:
        try:
            return expand(word, self.values, self.file.escape)
        except ExpandError as error:
            raise self.file.error(made, index + error.at, f"{word}: {error}") from error

    def _stage(self, made: Instruction) -> Stage:
        name = made.words[2].lower() if len(made.words) == 3 else ""
        written = self._expand(made, made.words[0], made.text_index)
        base = self._earlier(written)
        platform = self.done[base].platform if base is not None else self.target
        flag = made.flag("platform")
        if flag is not None:
            text = self._expand(made, flag.value or "", flag.index)
            try:
                platform = Platform.parse(text)
            except ValueError as error:
                raise self.file.error(made, flag.index, f"--platform={text}: not a platform") from error
        image = None
        if base is None and written != "scratch":
            image = self._image(made, made.text_index, written)
        return Stage(len(self.done), name, made, base, image, written, platform)

    def _earlier(self, name: str) -> int | None:
        found = [stage.index for stage in self.done if stage.name and stage.name == name.lower()]
        return found[-1] if found else None

    def _image(self, made: Instruction, index: int, written: str) -> Reference:
        if not written:
            raise self.file.error(
                made,
                index,
                f"{made.words[0]}: becomes empty",
                "an argument has no value: give it with --build-arg NAME=VALUE",
            )
        return image_at(self.file, made, index, written)


def image_at(file: Dockerfile, made: Instruction, index: int, written: str) -> Reference:
    """The image of that name. Raises DockerfileError with its place."""
    try:
        return parse_reference(written)
    except UserError as error:
        raise file.error(made, index, error.message, error.hint) from error


def choose(file: Dockerfile, stages: tuple[Stage, ...], target: str) -> Stage:
    """The stage of that name or number; without one the last. Raises UserError when there is none."""
    if not target:
        return stages[-1]
    for stage in reversed(stages):
        if target.lower() == stage.name or target == str(stage.index):
            return stage
    names = [stage.name for stage in stages if stage.name]
    near = difflib.get_close_matches(target.lower(), names, n=1)
    raise UserError(
        f"{file.name}: there is no stage {target}",
        hint=f"did you mean {near[0]}?" if near else f"it has {', '.join(names) or 'only one, without name'}",
    )


class Needed(msgspec.Struct, frozen=True):
    """What building a stage takes: stages of the same file, and images."""

    stages: tuple[Stage, ...]
    images: tuple[Need, ...]


def needed(
    file: Dockerfile, stages: tuple[Stage, ...], last: Stage, target: Platform, triggers: Triggers
) -> Needed:
    """All that the stage ``last`` needs. Raises DockerfileError for stages that are not there."""
    search = _Search(file, stages, target, triggers)
    search.visit(last)
    found = sorted(search.seen)
    images = [need for index in found for need in search.images[index]]
    return Needed(tuple(stages[index] for index in found), tuple(dict.fromkeys(images)))


class _Search:
    def __init__(
        self, file: Dockerfile, stages: tuple[Stage, ...], target: Platform, triggers: Triggers
    ) -> None:
        self.file = file
        self.stages = stages
        self.target = target
        self.triggers = triggers
        self.seen: set[int] = set()
        self.images: dict[int, list[Need]] = {}

    def visit(self, last: Stage) -> None:
        """The stage, and all it needs."""
        waiting = [last.index]
        while waiting:
            index = waiting.pop()
            if index not in self.seen:
                self.seen.add(index)
                self.images[index] = []
                waiting += self._needs_of(self.stages[index])

    def _needs_of(self, stage: Stage) -> Iterator[int]:
        """Stages that a stage needs; its images are noted."""
        if stage.base_stage is not None:
            yield stage.base_stage
        if stage.image is not None:
            line, column = self._place(stage.start, stage.start.text_index)
            self.images[stage.index].append(
                Need(stage.image, stage.platform, stage.written, "FROM", stage.start.line, line, column)
            )
        for made in self._with_triggers(stage):
            for value, index in _sources(made):
                found = self._stage_of(made, value, index, stage)
                if found is not None:
                    yield found

    def _with_triggers(self, stage: Stage) -> Iterator[Instruction]:
        if stage.image is not None:
            for text in self.triggers(stage.image, stage.platform):
                # Its place is that of the FROM which sets it off.
                made = parse_trigger(text, str(stage.image))
                yield msgspec.structs.replace(made, offsets=(), line=stage.start.line)
        elif stage.base_stage is not None:
            base = self.stages[stage.base_stage]
            yield from (made.trigger for made in base.instructions if made.trigger is not None)
        yield from stage.instructions

    def _place(self, made: Instruction, index: int) -> tuple[int, int]:
        if not made.offsets:
            return made.line, 1
        return self.file.place(made.offsets[min(index, len(made.offsets) - 1)])

    def _stage_of(self, made: Instruction, value: str, index: int, stage: Stage) -> int | None:
        """The stage that ``--from`` names; an image is noted instead."""
        line, column = self._place(made, index)
        if value.isascii() and value.isdecimal():
            if int(value) < stage.index:
                return int(value)
            raise DockerfileError(
                self.file.name,
                line,
                column,
                f"there is no stage {value} before this one",
                "they count from 0",
            )
        names = {one.name: one.index for one in self.stages if one.name}
        found = names.get(value.lower())
        if found is not None and found < stage.index:
            return found
        if found is not None:
            what = f"stage {value} comes later" if found > stage.index else f"stage {value} is this one"
            raise DockerfileError(self.file.name, line, column, what, "name an earlier stage")
        if value != "scratch":
            reference = image_at(self.file, made, index, value)
            near = difflib.get_close_matches(value.lower(), [*names], n=1)
            # An image of COPY or RUN is for the target, whatever the stage is for.
            need = Need(
                reference,
                self.target,
                value,
                made.keyword,
                made.line,
                line,
                column,
                near[0] if near else "",
            )
            self.images[stage.index].append(need)
        return None


def _sources(made: Instruction) -> Iterator[tuple[str, int]]:
    """Stages and images that an instruction takes files from, and where it names them."""
    if made.keyword == "COPY":
        flag = made.flag("from")
        if flag is not None and flag.value:
            yield flag.value, flag.index
    for flag in made.all_flags("mount") if made.keyword == "RUN" else ():
        value = mount_options(flag.value or "").get("from", "")
        if value:
            yield value, flag.index
