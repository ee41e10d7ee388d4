"""The library of official images: a file for each image, in paragraphs, that says where its source is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from skiff.host.errors import UserError
from skiff.model.port import GitSource, Platform

# Fields that can be given for one CPU too, as in `arm64v8-GitCommit`.
_PER_ARCH = ("GitRepo", "GitFetch", "GitCommit", "Directory", "File", "Builder")
_PLAIN = ("Maintainers", "Tags", "SharedTags", "Architectures", "Constraints", *_PER_ARCH)
_FIELD = re.compile(r"([A-Za-z0-9-]+)[ \t]*:[ \t]*(.*)")
_BUILDERS = {"": "dockerfile", "classic": "dockerfile", "buildkit": "dockerfile", "oci-import": "oci-import"}


class Entry(msgspec.Struct, frozen=True):
    """One paragraph: tags of an image, and where the source for each CPU is."""

    file: str
    line: int
    fields: Mapping[str, str]

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags that only this paragraph has."""
        return _list(self.fields.get("Tags", ""))

    @property
    def shared_tags(self) -> tuple[str, ...]:
        """Tags that other paragraphs have too, for other CPUs or systems."""
        return _list(self.fields.get("SharedTags", ""))

    @property
    def architectures(self) -> tuple[str, ...]:
        """CPUs it is made for, in the library's own names."""
        return _list(self.fields.get("Architectures", "")) or ("amd64",)

    @property
    def constrained(self) -> bool:
        """Whether only certain machines can build it."""
        return bool(_list(self.fields.get("Constraints", "")))

    def supports(self, platform: Platform) -> bool:
        """Whether it is made for that CPU."""
        return any(one.library in self.architectures for one in platform.fallbacks)

    def value(self, field: str, platform: Platform) -> str:
        """A field's value for a CPU: its own, else the one for all."""
        name = self._architecture(platform)
        return self.fields.get(f"{name}-{field}", self.fields.get(field, ""))

    def _architecture(self, platform: Platform) -> str:
        """The library's name for what is taken for a CPU: an older variant, if only that one is there."""
        names = [one.library for one in platform.fallbacks]
        return next((name for name in names if name in self.architectures), names[0])

    def builder(self, platform: Platform) -> str:
        """`dockerfile` or `oci-import`. Raises UserError for one that is not known."""
        name = self.value("Builder", platform)
        if name not in _BUILDERS:
            raise UserError(f"{self.file}:{self.line}: Builder {name}: not known")
        return _BUILDERS[name]

    def source(self, platform: Platform) -> GitSource:
        """Where the source for that CPU is. Raises UserError when it does not say."""
        url, commit = self.value("GitRepo", platform), self.value("GitCommit", platform)
        if not url or not commit:
            missing = "GitCommit" if url else "GitRepo"
            raise UserError(f"{self.file}:{self.line}: no {missing}", "the source of this image is unknown")
        return GitSource(
            url,
            commit,
            self.value("Directory", platform) or ".",
            self.value("File", platform) or "Dockerfile",
            self.value("GitFetch", platform),
        )


def read_library(text: str, file: str) -> tuple[Entry, ...]:
    """The entries of a file. Raises UserError with file and line."""
    paragraphs = list(_paragraphs(text, file))
    if not paragraphs:
        raise UserError(f"{file}: empty", "a file of the library begins with Maintainers")
    # Fields of the first paragraph hold for all, unless it has tags itself.
    _, defaults = paragraphs[0]
    if "Tags" in defaults or "SharedTags" in defaults:
        defaults = {}
    else:
        paragraphs = paragraphs[1:]
    entries = tuple(Entry(file, line, {**defaults, **own}) for line, own in paragraphs)
    for entry in entries:
        if not entry.tags and not entry.shared_tags:
            raise UserError(f"{file}:{entry.line}: an entry without Tags", "give it Tags: …")
    return entries


def _paragraphs(text: str, file: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Line and fields of each paragraph. Lines that begin with # are no part of it, not even an empty one."""
    fields: dict[str, str] = {}
    key, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#"):
            continue
        if not line.strip():
            if fields:
                yield first, fields
            fields, key = {}, ""
            continue
        if line[0] in " \t" and key:
            fields[key] = f"{fields[key]} {line.strip()}".strip()
            continue
        match = _FIELD.fullmatch(line.rstrip())
        key = match[1] if match else ""
        if match is None or not _known(key):
            what = f"unknown field {key}" if match else f"not a field: {line.strip()[:40]!r}"
            raise UserError(f"{file}:{number}: {what}", "a line is NAME: VALUE, one of " + ", ".join(_PLAIN))
        if key in fields:
            raise UserError(f"{file}:{number}: {key} given twice")
        first = first if fields else number
        fields[key] = match[2].strip()
    if fields:
        yield first, fields


def _known(key: str) -> bool:
    return key in _PLAIN or key.rpartition("-")[2] in _PER_ARCH


def _list(value: str) -> tuple[str, ...]:
    return tuple(word for word in re.split(r"[,\s]+", value) if word)


def find_entry(entries: tuple[Entry, ...], tag: str, platform: Platform) -> Entry | None:
    """The entry of a tag. Of several that share it, the one for the platform; else one any machine builds."""
    own = [entry for entry in entries if tag in entry.tags]
    found = own or [entry for entry in entries if tag in entry.shared_tags]
    ranked = sorted(found, key=lambda entry: (not entry.supports(platform), entry.constrained))
    return ranked[0] if ranked else None
