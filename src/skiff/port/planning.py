"""From the words of the command line to a plan; one made before is taken if all is as it was."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache as once
from pathlib import Path

import msgspec

from skiff.host import json, toml
from skiff.host.errors import UserError
from skiff.host.files import at_home, digest, file_digest, write_atomic
from skiff.model.oci import ImageConfig
from skiff.model.port import Action, Plan, Platform, Reference
from skiff.port.graph import Lookup, Request, make_plan
from skiff.port.journal import Journal, Question, hash_of
from skiff.port.reference import parse_reference
from skiff.port.sources import LIBRARY, Sources
from skiff.port.tie_rules import Project, Rules, checked
from skiff.port.trees import LocalTree

FILE = "port.toml"
_PAGE = "docs/how-to/port-an-image.md"
_AT_ONCE = 8


class PortFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """port.toml: what a user tells of images, beside the command line."""

    # The official library: a git address or a folder.
    library: str = ""
    # Image to its source: GIT_URL#REF:FOLDER, or a folder.
    sources: dict[str, str] = {}
    # A checksum in a Dockerfile to the one of the file for each CPU.
    checksums: dict[str, dict[str, str]] = {}
    # Further projects and how they name their files.
    project: tuple[Project, ...] = ()


class Wish(msgspec.Struct, frozen=True):
    """What was asked for on the command line."""

    image: str
    platforms: tuple[Platform, ...]
    file: str = ""
    target: str = ""
    args: dict[str, str] = {}
    # IMAGE=SOURCE, as given with --source.
    sources: tuple[str, ...] = ()
    library: str = ""
    port_file: Path | None = None
    # A name for the images; a folder has none of its own.
    tag: Reference | None = None
    rewrite: bool = True
    ground_up: bool = False
    update: bool = False


class Planned(msgspec.Struct, frozen=True):
    """A plan, and where its sources are."""

    plan: Plan
    sources: Sources
    # Whether it is one that was made before.
    kept: bool


class _Kept(msgspec.Struct, frozen=True):
    """A plan in the cache."""

    plan: Plan
    answers: tuple[tuple[tuple[str, ...], str], ...]


@contextmanager
def planned(
    wish: Wish, lookup: Lookup, build: Platform, cache: Path, warn: Callable[[str], None]
) -> Iterator[Planned]:
    """The plan for a wish, while the block runs. Raises UserError."""
    told = _port_file(wish.port_file)
    journal = Journal()
    given = {**told.sources, **dict(_pair(text) for text in wish.sources)}
    library = wish.library or told.library or LIBRARY
    sources = Sources(
        given, library, cache, must=library != LIBRARY, update=wish.update, warn=warn, journal=journal
    )
    try:
        request = _request(wish, build)
        # All that decides beside the answers: wish, port.toml, the folder that paths begin in, this tool.
        key = hash_of((request, told, wish.sources, library, str(Path.cwd()), _tool()))
        file = cache / "port" / "plans" / f"{key}.json"
        kept = _kept(file)
        asking = _Asking(lookup, sources)
        if kept is not None and asking.same(kept.answers):
            yield Planned(kept.plan, sources, True)
            return
        plan = make_plan(request, _Noting(lookup, journal), sources, _rules(told, wish))
        _check_root(plan, wish)
        write_atomic(file, json.encode(_Kept(plan, tuple(sorted(journal.answers.items())))))
        yield Planned(plan, sources, False)
    finally:
        sources.close()


def _request(wish: Wish, build: Platform) -> Request:
    """What is to be planned. A folder is written as ``./folder`` or ``folder/``: ``folder`` is an image."""
    path = at_home(wish.image)
    is_path = wish.image.startswith((".", "/", "~")) or wish.image.endswith("/")
    if not is_path:
        reference = _image(wish.image)
    else:
        path = path.absolute()
        folder = path.parent if path.is_file() else path
        reference = wish.tag or parse_reference(f"localhost/{_name_of(folder)}")
    return Request(
        image=reference,
        platforms=wish.platforms,
        path=path if is_path else None,
        file=wish.file,
        target=wish.target,
        args=wish.args,
        build=build,
        rewrite=wish.rewrite,
        ground_up=wish.ground_up,
    )


def _image(text: str) -> Reference:
    """The image of that name. Raises UserError, for a path that is there with how to write it."""
    try:
        return parse_reference(text)
    except UserError as error:
        if not _lies_here(text):
            raise
        raise UserError(error.message, _how_to_write(text)) from error


def _check_root(plan: Plan, wish: Wish) -> None:
    """A path that begins with a name is taken for an image's."""
    root = plan.node(plan.roots[0])
    if root.action is Action.MISSING and _lies_here(wish.image):
        raise UserError(f"{wish.image}: {root.why}", _how_to_write(wish.image))


def _lies_here(text: str) -> bool:
    # Such a function of os.path says no to what no path can be.
    return os.path.exists(text)  # noqa: PTH110


def _how_to_write(path: str) -> str:
    return f"if what lies here is meant: skiff port ./{path}"


def _name_of(folder: Path) -> str:
    """A name for the image of a folder."""
    letters = "".join(char if char.isascii() and char.isalnum() else "-" for char in folder.name.lower())
    return "-".join(part for part in letters.split("-") if part) or "image"


def _pair(text: str) -> tuple[str, str]:
    image, equals, place = text.partition("=")
    if not equals or not image or not place:
        raise UserError(f"--source {text}: not IMAGE=SOURCE", "as in --source app=https://e.x/app.git#main:.")
    return image, place


def _port_file(path: Path | None) -> PortFile:
    """port.toml of the current folder, or the one that was named. Raises UserError with its key."""
    file = path or Path(FILE)
    if path is None and not file.exists():
        return PortFile()
    return toml.convert(file, toml.parse(file), PortFile, _PAGE)


def _rules(told: PortFile, wish: Wish) -> Rules:
    file = wish.port_file or FILE
    projects = []
    for project in told.project:
        try:
            projects.append(checked(project))
        except ValueError as error:
            raise UserError(f"{file}: project {project.name}: {error}", f"{_PAGE} shows one") from error
    try:
        return Rules(projects, told.checksums)
    except ValueError as error:
        raise UserError(f"{file}: checksums: {error}", "as in linux/arm64") from error


def _kept(file: Path) -> _Kept | None:
    try:
        return json.decode(file.read_bytes(), _Kept)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


class _Noting:
    """A lookup whose answers are written down."""

    def __init__(self, lookup: Lookup, journal: Journal) -> None:
        self.lookup = lookup
        self.journal = journal

    def platforms(self, reference: Reference) -> tuple[Platform, ...] | None:
        """As the lookup's."""
        found = self.lookup.platforms(reference)
        self.journal.note(("platforms", *_words(reference)), found)
        return found

    def config(self, reference: Reference, platform: Platform) -> ImageConfig | None:
        """As the lookup's."""
        found = self.lookup.config(reference, platform)
        self.journal.note(("config", *_words(reference), str(platform)), found)
        return found

    def can_synthesise(self, reference: Reference, platform: Platform) -> bool:
        """As the lookup's."""
        found = self.lookup.can_synthesise(reference, platform)
        self.journal.note(("synthesise", *_words(reference), str(platform)), found)
        return found

    def archive_cpus(self, reference: Reference, platform: Platform) -> tuple[str, ...]:
        """As the lookup's."""
        found = self.lookup.archive_cpus(reference, platform)
        self.journal.note(("cpus", *_words(reference), str(platform)), found)
        return found


def _words(reference: Reference) -> tuple[str, str, str, str]:
    return reference.registry, reference.repository, reference.tag, reference.digest


class _Asking:
    """Asks again what a journal has, several questions at a time."""

    def __init__(self, lookup: Lookup, sources: Sources) -> None:
        self.lookup = lookup
        self.sources = sources
        self._ways: Mapping[str, Callable[..., object]] = {
            "platforms": lambda *words: lookup.platforms(Reference(*words)),
            "config": lambda *words: lookup.config(Reference(*words[:4]), Platform.parse(words[4])),
            "synthesise": lambda *words: lookup.can_synthesise(
                Reference(*words[:4]), Platform.parse(words[4])
            ),
            "cpus": lambda *words: lookup.archive_cpus(Reference(*words[:4]), Platform.parse(words[4])),
            "commit": sources.commit,
            "library": sources.library_commit,
            "read": lambda root, path: LocalTree(Path(root)).read(path),
            "files": lambda root, path: LocalTree(Path(root)).files(path),
        }

    def same(self, answers: tuple[tuple[Question, str], ...]) -> bool:
        """Whether every answer is as it was."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return all(pool.map(self._same, answers))

    def _same(self, item: tuple[Question, str]) -> bool:
        (kind, *words), answer = item
        way = self._ways.get(kind)
        try:
            return way is not None and hash_of(way(*words)) == answer
        except UserError:
            return False


@once
def _tool() -> str:
    """Hash of this part of the tool: another version may plan otherwise."""
    folder = Path(__file__).parent
    files = [*folder.rglob("*.py"), *folder.rglob("*.toml"), *folder.parent.glob("model/*.py")]
    return digest("".join(file_digest(path) for path in sorted(files)))
