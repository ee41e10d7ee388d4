"""Finds an image's Dockerfile: a path, `--source` or port.toml, the image's labels, the official library."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cache as once
from pathlib import Path
from threading import Lock

import msgspec

from skiff.host.errors import UserError
from skiff.model.port import GitSource, LocalSource, Platform, Reference, Source
from skiff.port.dockerfile import decode
from skiff.port.git import Repository, local_path
from skiff.port.journal import Journal
from skiff.port.library import Entry, find_entry, read_library
from skiff.port.reference import HUB, parse_reference
from skiff.port.trees import GitTree, LocalTree, Tree

LIBRARY = "https://github.com/docker-library/official-images.git"
_NAMES = ("Dockerfile", "Containerfile")
_LABEL = "org.opencontainers.image."
# Seconds for which the library that was fetched is good enough.
_FRESH = 86400.0


class Found(msgspec.Struct, frozen=True):
    """An image's source: its Dockerfile and the folder it is built from."""

    source: Source
    tree: Tree
    text: str
    # What messages call the Dockerfile.
    name: str
    why: str
    builder: str = "dockerfile"


class Sources:
    """Where sources are looked for, and the repositories they are in. Close it at the end.

    A library that need not be there, and cannot be fetched, is told of once and then knows nothing.
    """

    def __init__(
        self,
        given: Mapping[str, str],
        library: str,
        cache: Path,
        *,
        must: bool = True,
        update: bool = False,
        warn: Callable[[str], None] = lambda _: None,
        journal: Journal | None = None,
    ) -> None:
        self.given = {_key(name): place for name, place in given.items()}
        self.library = library
        self.cache = cache
        # Whether the library has to be there: the user named it.
        self.must = must
        self.update = update
        self.warn = warn
        self._journal = journal or Journal()
        self._repositories: dict[str, Repository] = {}
        self._lock = Lock()
        self._entries = once(self._read_entries)
        # Asked once, by one thread: it is fetched then, or not.
        self._library_at: str | None = None
        self._library_lock = Lock()

    def close(self) -> None:
        """End the git processes."""
        for repository in self._repositories.values():
            repository.close()

    def repository(self, url: str) -> Repository:
        """The repository at an address."""
        with self._lock:
            return self._repositories.setdefault(url, Repository(url, self.cache))

    def commit(self, url: str, ref: str, fetch: str = "") -> str:
        """The commit of a branch, tag or commit now. Raises UserError."""
        found = self.repository(url).commit(ref, fetch)
        if found != ref:
            # What a commit holds never changes; where a branch is does.
            self._journal.note(("commit", url, ref, fetch), found)
        return found

    def library_commit(self, url: str, ref: str) -> str:
        """The commit of the library: that of today, or of this minute when an update is asked for."""
        repository = self.repository(url)
        old = self.update or _age(repository.folder / "FETCH_HEAD") > _FRESH
        found = repository.commit(ref, update=old)
        self._journal.note(("library", url, ref), found)
        return found

    def _once_library_commit(self, url: str, ref: str) -> str:
        with self._library_lock:
            if self._library_at is None:
                self._library_at = self._library_commit(url, ref)
            return self._library_at

    def _library_commit(self, url: str, ref: str) -> str:
        try:
            return self.library_commit(url, ref)
        except UserError as error:
            self._journal.note(("library", url, ref), None)
            if self.must:
                raise
            self.warn(f"going on without the library of official images: {error.message}")
            return ""

    def at_path(self, path: Path, file: str = "", why: str = "your folder") -> Found:
        """A folder of this machine, or a Dockerfile in one. Raises UserError."""
        if path.is_file():
            path, file = path.parent, path.name
        if not path.is_dir():
            raise UserError(
                f"{path}: there is no such folder", "name a folder with a Dockerfile, or an image"
            )
        return self._local(path, why, file)

    def of(self, reference: Reference, platform: Platform, labels: Mapping[str, str]) -> Found | None:
        """The source of an image; None if none is known. Raises UserError when one that was given is bad."""
        place = self.given.get(_key(str(reference))) or self.given.get(reference.name)
        if place:
            return self._at(place, "its source was given")
        return self._from_labels(labels) or self._from_library(reference, platform)

    def _at(self, place: str, why: str, commit: str = "") -> Found:
        """A source as ``URL#REF:FOLDER``, or a folder of this machine."""
        url, sharp, rest = place.partition("#")
        ref, _, directory = rest.partition(":")
        path = local_path(url)
        if path is not None and not sharp:
            return self.at_path(path, why=why)
        source = GitSource(url, self.commit(url, commit or ref or "HEAD"), directory or ".", "", ref)
        return self._git(source, why)

    def _local(self, path: Path, why: str, file: str) -> Found:
        tree = LocalTree(path.absolute(), self._journal)
        for name in [file] if file else _NAMES:
            data = tree.read(name)
            if data is not None:
                shown = str(path / name)
                return Found(LocalSource(tree.root, name), tree, decode(data, shown), shown, why)
        raise UserError(f"{path}: there is no {file or 'Dockerfile'}", "name one with --file")

    def _git(self, source: GitSource, why: str, builder: str = "dockerfile") -> Found:
        repository = self.repository(source.url)
        place = f"{source.url}#{source.commit[:12]}:{source.directory}"
        if builder != "dockerfile":
            return Found(
                source, GitTree(repository, source.commit, source.directory), "", place, why, builder
            )
        folder, _, last = source.directory.rpartition("/")
        for directory, name in (
            *((source.directory, name) for name in ([source.file] if source.file else _NAMES)),
            # The address may end in the Dockerfile itself.
            (folder or ".", last),
        ):
            data = repository.read(source.commit, f"{directory}/{name}")
            if data is not None:
                _check_whole(repository, source.commit, directory)
                exact = msgspec.structs.replace(source, directory=directory, file=name)
                tree = GitTree(repository, source.commit, directory)
                shown = f"{source.url}#{source.commit[:12]}:{directory}/{name}"
                return Found(exact, tree, decode(data, shown), shown, why)
        raise UserError(f"{place}: there is no {source.file or 'Dockerfile'}", "--source names another place")

    def _from_labels(self, labels: Mapping[str, str]) -> Found | None:
        place, revision = labels.get(f"{_LABEL}source", ""), labels.get(f"{_LABEL}revision", "")
        if not place:
            return None
        try:
            host, colon, _ = place.partition("/")[0].partition(":")
            if not colon or host == "file":
                # An author of images has no say over this machine's folders.
                raise UserError(f"{place} is on this machine")
            return self._at(place, "its labels name its source", revision)
        except UserError as error:
            # The label need not name a folder that holds its Dockerfile.
            self.warn(f"the labels of an image name a source that is of no use: {error.message}")
            return None

    def library_cpus(self, reference: Reference, platform: Platform) -> tuple[str, ...]:
        """CPUs that the official library has an image for, by its own names; none if it has no such image."""
        entry = self._entry(reference, platform)
        return entry.architectures if entry is not None else ()

    def _entry(self, reference: Reference, platform: Platform) -> Entry | None:
        name = _library_name(reference, platform)
        # A digest alone does not tell which entry it was made of.
        return find_entry(self._entries(name), reference.tag, platform) if name and reference.tag else None

    def _from_library(self, reference: Reference, platform: Platform) -> Found | None:
        entry = self._entry(reference, platform)
        if entry is None:
            return None
        if entry.builder(platform) != "dockerfile" and not entry.supports(platform):
            # A finished image for another CPU.
            return None
        source = entry.source(platform)
        commit = self.commit(source.url, source.commit, source.ref)
        source = msgspec.structs.replace(source, commit=commit)
        why = "the library of official images names its source"
        if not entry.supports(platform):
            why += f", though not for {platform.library}"
        return self._git(source, why, entry.builder(platform))

    def _read_entries(self, name: str) -> tuple[Entry, ...]:
        path = local_path(self.library)
        if path is not None and "#" not in self.library:
            if not path.is_dir():
                raise UserError(f"--library {path}: there is no such folder")
            tree = LocalTree(path, self._journal)
            data = tree.read(f"library/{name}") or tree.read(name)
        else:
            url, _, ref = self.library.partition("#")
            commit = self._once_library_commit(url, ref or "HEAD")
            data = self.repository(url).read(commit, f"library/{name}") if commit else None
        if data is None:
            return ()
        shown = f"{self.library}: library/{name}"
        return read_library(decode(data, shown), shown)


def _check_whole(repository: Repository, commit: str, directory: str) -> None:
    """`docker build` would fetch submodules; without them the image lacks files."""
    found = ", ".join(repository.submodules(commit, directory))
    if found:
        raise UserError(
            f"{repository.url}#{commit[:12]}: it has submodules, which are not fetched: {found}",
            "git clone --recurse-submodules, and name the folder: --source IMAGE=./FOLDER",
        )


def _key(name: str) -> str:
    """A key of the sources that were given: with its tag if it has one, else the name alone."""
    reference = parse_reference(name)
    plain = name.rpartition("/")[2]
    return str(reference) if ":" in plain or "@" in plain else reference.name


def _library_name(reference: Reference, platform: Platform) -> str:
    """Name of an image in the official library; empty for others. ``arm64v8/debian`` is ``debian`` there."""
    space, _, name = reference.repository.partition("/")
    own = {"library", *(one.library for one in platform.fallbacks)}
    return name if reference.registry == HUB and space in own and "/" not in name else ""


def _age(file: Path) -> float:
    """Seconds since a file was written; very many for one that is not there."""
    try:
        return time.time() - file.stat().st_mtime
    except OSError:
        return float("inf")
