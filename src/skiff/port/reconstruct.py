"""Writes a Dockerfile anew from an image's history and configuration, and says what it cannot bring back."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator

import msgspec

from skiff.model.oci import ImageConfig, RunConfig
from skiff.model.port import Finding, Platform, Reference

# Stage of the image that is read.
ORIGINAL = "original"
_BASE_LABEL = "org.opencontainers.image.base.name"
# Build arguments before a command: |2 A=b C=d /bin/sh -c …
_ARGUMENTS = re.compile(r"\|(\d{1,4}) ")
# What the builder sets, with the value that it had.
_BUILDERS = re.compile(r"\b((?:TARGET|BUILD)(?:PLATFORM|OS|ARCH|VARIANT))=\S*")
# A shell and its options, up to the command: /bin/bash -eo pipefail -c …
_SHELL = r"(?:/usr)?/bin/(?:ba|a|da)?sh (?:-\w*o \w+ |-[\w-]+ )*?-\w*c"
_NOP = re.compile(r"^/bin/sh -c #\(nop\)\s+")
_COPY = re.compile(r"^(?:COPY|ADD) (?P<flags>(?:--\S+ )*)(?P<source>.+?) (?:in )?(?P<target>\S+)\s*$")
_KEPT = re.compile(
    r"^(ENV|WORKDIR|USER|EXPOSE|VOLUME|LABEL|STOPSIGNAL|SHELL|MAINTAINER|ARG|CMD|ENTRYPOINT|HEALTHCHECK)\b"
)
_ADDRESS = re.compile(r"(?:https?|git|ssh)://|git@")
# Bases that tell of themselves in their history.
_DEBIAN = re.compile(r"debian\.sh\b.*?'([a-z]+)'\s+'@\d+'")
_ALPINE = re.compile(r"alpine-minirootfs-(\d+\.\d+)[\d.]*-")


class Reconstructed(msgspec.Struct, frozen=True):
    """A Dockerfile made of a history, and what is not as it was."""

    text: str
    lost: tuple[Finding, ...]
    # Whether the image that it is based on is known.
    based: bool


class _Step(msgspec.Struct, frozen=True):
    """One instruction; why it is not as it was, if it is not."""

    text: str
    lost: str = ""
    blocks: bool = False


def base_name(config: ImageConfig) -> str:
    """The image that a label names as the base; empty without one. It may be the base's own label."""
    return config.labels.get(_BASE_LABEL, "")


def is_base(base: ImageConfig, config: ImageConfig) -> bool:
    """Whether an image begins with all layers and steps of another one."""
    layers, steps = base.rootfs.diff_ids, [one.created_by for one in base.history]
    began = [one.created_by for one in config.history[: len(steps)]]
    return bool(layers) and config.rootfs.diff_ids[: len(layers)] == layers and began == steps


def reconstruct(
    reference: Reference, platform: Platform, config: ImageConfig, base_steps: int = 0
) -> Reconstructed:
    """A Dockerfile for an image that is there for a platform.

    Files that came from a folder nobody has are copied out of that image: right for what is no program.
    ``base_steps``: how many steps are those of the base that its label names, where that was seen.
    """
    history = [_plain(one.created_by) for one in config.history]
    base, count = _base(config, history, base_steps)
    made = [base, *_steps(history, count, _shells(history, config.run)), *_configuration(config.run)]
    lines = [
        f"# Made by skiff from the history of {reference} for {platform}.",
        f"FROM --platform={platform} {reference} AS {ORIGINAL}",
    ]
    lost: list[Finding] = []
    for step in made:
        if step.lost:
            lines.append(f"# {step.lost}")
            lost.append(Finding("lost", "", len(lines) + 1, step.text[:100], step.lost, blocks=step.blocks))
        lines.append(step.text)
    return Reconstructed("\n".join(lines) + "\n", tuple(lost), not base.blocks)


def _base(config: ImageConfig, history: list[str], base_steps: int) -> tuple[_Step, int]:
    """FROM, and how many steps of the history are those of the base."""
    label = base_name(config)
    if base_steps:
        return _Step(f"FROM {label}"), base_steps
    found = _known_base(history, config)
    if found is not None:
        name, count = found
        return _Step(f"FROM {name}"), count
    if label:
        why = "a label names the base; the history does not tell which steps are the base's own"
        return _Step(f"FROM {label}", why), 0
    why = "the base is not known: its files cannot be brought back"
    return _Step("FROM scratch", why, blocks=True), 0


def _known_base(history: list[str], config: ImageConfig) -> tuple[str, int] | None:
    """A distribution's base that the history begins with, and how many steps are its own."""
    first = " ".join(history[:8])
    name = ""
    if match := _DEBIAN.search(history[0] if history else ""):
        name = f"debian:{match[1]}"
    elif match := _ALPINE.search(first):
        name = f"alpine:{match[1]}"
    elif config.labels.get("org.opencontainers.image.ref.name") == "ubuntu":
        name = f"ubuntu:{config.labels.get('org.opencontainers.image.version', 'latest')}"
    if not name:
        return None
    # A base ends in its command.
    end = next((at for at, text in enumerate(history[:12]) if text.startswith("CMD ")), 0)
    return name, end + 1


def _plain(created_by: str) -> str:
    """A step without what the builder puts around it."""
    text = created_by.strip().removesuffix("# buildkit").strip()
    return _NOP.sub("", text).strip()


def _shells(history: list[str], run: RunConfig) -> re.Pattern[str]:
    """Finds what stands before a command: a shell of the history's, the image's own, or one as is usual."""
    known = [re.sub(r"[\[\]\",]", "", text[6:]).strip() for text in history if text.startswith("SHELL ")]
    known.append(" ".join(run.shell or ()))
    exact = [re.escape(one) for one in sorted(known, key=len, reverse=True) if one]
    return re.compile(rf"(?<!\S)(?:{'|'.join([*exact, _SHELL])}) ")


def _steps(history: list[str], count: int, shell: re.Pattern[str]) -> Iterator[_Step]:
    """The instructions behind the first ``count`` steps, which are the base's."""
    folder = "/"
    for at, text in enumerate(history):
        if text.startswith("WORKDIR "):
            folder = posixpath.join(folder, text.removeprefix("WORKDIR "))
        # The configuration has what is held back.
        if at < count or text.startswith("ONBUILD "):
            continue
        if match := _COPY.match(text):
            yield from _copied(match, folder)
        elif _KEPT.match(text):
            yield _kept(text)
        else:
            yield from _command(text, shell)


def _kept(text: str) -> _Step:
    keyword, _, rest = text.partition(" ")
    if keyword == "EXPOSE":
        # Written by Go's printing of a map: map[80/tcp:{}].
        return _Step(f"EXPOSE {' '.join(re.findall(r'[0-9]+(?:/[a-z]+)?', rest))}")
    if keyword in ("VOLUME", "SHELL") and rest.startswith("["):
        # Without commas and quotes, if it is an old builder's.
        words = rest.strip("[]").split() if '"' not in rest else None
        return _Step(text if words is None else f"{keyword} {json.dumps(words)}")
    if keyword == "HEALTHCHECK" or (keyword in ("LABEL", "ENV") and "=" not in rest):
        return _Step(f"# {text}")
    text = _escaped(text)
    return _Step(_BUILDERS.sub(r"\1", text) if keyword == "ARG" else text)


def _escaped(text: str) -> str:
    """ENV and LABEL with their value quoted: the history has it without quotes."""
    match = re.fullmatch(r"(ENV|LABEL|ARG) ([\w./-]+)=(.*)", text, re.DOTALL)
    if match is None or match[3].startswith('"') or re.search(r"\s[\w./-]+=", match[3]):
        return text
    return f"{match[1]} {match[2]}={_quoted(match[3])}"


def _quoted(value: str) -> str:
    if re.fullmatch(r"[\w./:@%+,-]*", value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return '"' + escaped.replace("\n", " ") + '"'


def _copied(match: re.Match[str], folder: str) -> Iterator[_Step]:
    """Files that came from a folder, or from another stage: the history does not tell which."""
    target = posixpath.normpath(posixpath.join(folder, match["target"]))
    # Whether it ends in a slash tells that it is a folder.
    target = posixpath.join(target, "") if match["target"].endswith("/") or match["target"] == "." else target
    flags = [flag for flag in match["flags"].split() if not flag.startswith("--from")]
    for source in match["source"].split():
        if _ADDRESS.match(source):
            yield _Step(" ".join(["ADD", *flags, source, match["target"]]))
            continue
        name = source.rpartition("/")[2]
        # Of a folder, what is in it is copied.
        named = name not in ("", ".") and not source.startswith(("file:", "dir:", "multi:"))
        path = target + name if target.endswith("/") and named else target
        if set(path) & set("*?[") or not path.strip("/"):
            why = "which files these were cannot be told: they are left out"
            yield _Step(f"# {match[0]}", why, blocks=True)
            continue
        why = "copied out of the image that is there: right unless it is a program"
        yield _Step(" ".join(["COPY", f"--from={ORIGINAL}", *flags, path, path]), why)


def _command(text: str, shell: re.Pattern[str]) -> Iterator[_Step]:
    """RUN, behind the build arguments it was given."""
    text = text.removeprefix("RUN ")
    given: list[str] = []
    if match := _ARGUMENTS.match(text):
        text, count = text[match.end() :], int(match[1])
        if found := shell.search(text):
            given = _arguments(text[: found.start()].rstrip(), count)
            text = text[found.start() :]
        else:
            *given, text = text.split(" ", count)
    if not text or text.startswith("#"):
        yield _Step(f"# {text.lstrip('# ')}".rstrip())
        return
    for name, _, value in (word.partition("=") for word in given if not _BUILDERS.match(word)):
        yield _Step(f"ARG {name}={_quoted(value)}")
    found = shell.match(text)
    command = text[found.end() :] if found else text
    yield _Step(f"RUN <<'SKIFF'\n{command}\nSKIFF" if "\n" in command else f"RUN {command}")


def _arguments(text: str, count: int) -> list[str]:
    """Build arguments, whose values have no quotes: the last one takes what is left."""
    words = re.split(r" (?=[A-Za-z_]\w*=)", text)
    return [*words[: count - 1], " ".join(words[count - 1 :])] if count else []


def _configuration(run: RunConfig) -> Iterator[_Step]:
    """What the configuration says in the end: it holds, whatever the history left out."""
    for word in run.env or ():
        name, _, value = word.partition("=")
        yield _Step(f"ENV {name}={_quoted(value)}")
    for name, value in (run.labels or {}).items():
        yield _Step(f"LABEL {_quoted(name)}={_quoted(value)}")
    if run.exposed_ports:
        yield _Step(f"EXPOSE {' '.join(sorted(run.exposed_ports))}")
    if run.volumes:
        yield _Step(f"VOLUME {json.dumps(sorted(run.volumes))}")
    for keyword, value in (("WORKDIR", run.working_dir), ("USER", run.user), ("STOPSIGNAL", run.stop_signal)):
        if value:
            yield _Step(f"{keyword} {value}")
    for keyword, words in (("SHELL", run.shell), ("ENTRYPOINT", run.entrypoint), ("CMD", run.cmd)):
        if words:
            yield _Step(f"{keyword} {json.dumps(list(words))}")
    for text in run.on_build or ():
        yield _Step(f"ONBUILD {text}")
    yield from _health(run)


def _health(run: RunConfig) -> Iterator[_Step]:
    health = run.healthcheck
    if health is None or not health.test:
        return
    flags = [
        f"--{name}={value}ns"
        for name, value in (
            ("interval", health.interval),
            ("timeout", health.timeout),
            ("start-period", health.start_period),
            ("start-interval", health.start_interval),
        )
        if value
    ]
    flags += [f"--retries={health.retries}"] if health.retries else []
    kind, words = health.test[0], health.test[1:]
    command = (
        "NONE" if kind == "NONE" else f"CMD {words[0] if kind == 'CMD-SHELL' else json.dumps(list(words))}"
    )
    yield _Step(" ".join(["HEALTHCHECK", *flags, command]))
