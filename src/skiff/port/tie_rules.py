"""What ties a Dockerfile to a CPU, read from ties.toml: words for CPUs, options, packages, projects."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache as once
from pathlib import Path

import msgspec

from skiff.model.port import Platform


class Project(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one project names its files for each CPU."""

    name: str
    # Regular expression that finds its addresses.
    match: str
    convention: str
    # Platform to word, where the convention does not hold; an empty word: there is no such file.
    names: dict[str, str] = {}
    # Where it publishes checksums.
    checksums: str = ""


class Setting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A setting of a build tool that names the CPU which it makes programs for."""

    name: str
    # Regular expression that finds it; its group `word` is the name of the CPU.
    match: str
    convention: str
    # As a project's.
    names: dict[str, str] = {}


class Ambiguous(msgspec.Struct, frozen=True):
    """Words that mean a CPU only in the right company."""

    words: tuple[str, ...]


class Everywhere(msgspec.Struct, frozen=True):
    """Conventions whose words mean nothing else wherever they stand."""

    conventions: tuple[str, ...]


class Packages(msgspec.Struct, frozen=True):
    """Packages that exist for some CPUs only."""

    patterns: tuple[str, ...]


class TiesFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """ties.toml."""

    conventions: dict[str, dict[str, str]]
    words: dict[str, tuple[str, ...]]
    ambiguous: Ambiguous
    everywhere: Everywhere
    options: dict[str, tuple[str, ...]]
    packages: Packages
    setting: tuple[Setting, ...] = ()
    project: tuple[Project, ...] = ()


class Rules:
    """The rules that hold: those of the tool, with the user's projects and checksums before them."""

    def __init__(
        self, projects: Sequence[Project] = (), checksums: Mapping[str, Mapping[str, str]] = {}
    ) -> None:
        self.file = _read()
        self.projects = (*projects, *self.file.project)
        self._checksums = {
            old.lower(): {str(Platform.known(name)): new for name, new in by.items()}
            for old, by in checksums.items()
        }
        self._words = _words(self.file)

    def words(self, platform: Platform) -> frozenset[str]:
        """All words that mean a platform."""
        return frozenset(word for word, meant in self._words.items() if _plain(platform) in meant)

    @property
    def all_words(self) -> frozenset[str]:
        """All words that mean any platform."""
        return frozenset(self._words)

    def foreign(self, platform: Platform) -> tuple[str, ...]:
        """Words that mean other platforms only and nothing else, the longest first."""
        common = self.file.ambiguous.words
        found = [
            word
            for word, meant in self._words.items()
            if _plain(platform) not in meant and word not in common
        ]
        return tuple(sorted(found, key=lambda word: (-len(word), word)))

    def meant(self, word: str) -> frozenset[Platform]:
        """The platforms that a word means."""
        return self._words.get(word, frozenset())

    def word(self, convention: str, platform: Platform) -> str:
        """The word for a platform in a convention; empty if it has none."""
        return self.file.conventions.get(convention, {}).get(_key(platform), "")

    def project(self, url: str) -> Project | None:
        """Whose address it is; None if no rule knows it."""
        return next((one for one in self.projects if re.search(one.match, url)), None)

    def project_word(self, project: Project, platform: Platform) -> str:
        """The word of a project for a platform; empty if it has no file for it."""
        own = project.names.get(_key(platform))
        return self.word(project.convention, platform) if own is None else own

    def setting_word(self, setting: Setting, platform: Platform) -> str:
        """The word of a setting for a platform; empty if it has none."""
        own = setting.names.get(_key(platform))
        return self.word(setting.convention, platform) if own is None else own

    def project_words(self, project: Project) -> frozenset[str]:
        """Every word that a project uses."""
        convention = self.file.conventions.get(project.convention, {})
        return frozenset(word for word in (*convention.values(), *project.names.values()) if word)

    def checksum(self, old: str, platform: Platform) -> str:
        """The checksum that the user gave for a platform in place of another; empty if none."""
        return self._checksums.get(old.lower(), {}).get(str(platform), "")


def checked(project: Project) -> Project:
    """A project of the user's, with CPUs as our own name them. Raises ValueError that names the key."""
    conventions = _read().conventions
    if project.convention not in conventions:
        raise ValueError(f"convention: {project.convention!r} is none of {', '.join(conventions)}")
    try:
        re.compile(project.match)
    except re.error as error:
        raise ValueError(f"match: no regular expression: {error}") from error
    try:
        names = {_key(Platform.known(name)): word for name, word in project.names.items()}
    except ValueError as error:
        raise ValueError(f"names: {error}") from error
    return msgspec.structs.replace(project, names=names)


def _key(platform: Platform) -> str:
    return f"{platform.arch}/{platform.variant}" if platform.arch == "arm" else platform.arch


def _plain(platform: Platform) -> Platform:
    """Variants but those of 32-bit ARM make no difference to names of files."""
    return platform if platform.arch == "arm" else Platform(platform.os, platform.arch)


def _words(file: TiesFile) -> dict[str, frozenset[Platform]]:
    found: dict[str, set[Platform]] = {}
    for convention in file.conventions.values():
        for name, word in convention.items():
            found.setdefault(word, set()).add(Platform.parse(name))
    for name, words in file.words.items():
        for word in words:
            found.setdefault(word, set()).add(Platform.parse(name))
    return {word: frozenset(meant) for word, meant in found.items()}


@once
def _read() -> TiesFile:
    return msgspec.toml.decode((Path(__file__).parent / "ties.toml").read_bytes(), type=TiesFile)
