"""Which images are bases of a distribution: from a name and a tag to release, variant and archive."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path

import msgspec

from skiff.host.mirror import DEFAULT_MIRROR, security_mirror
from skiff.model.arch import Arch
from skiff.model.port import Reference

DATA = Path(__file__).parent / "data"
_OLD = "http://archive.debian.org/debian"
_SNAPSHOT = "http://snapshot.debian.org/archive/debian"
# `trixie`, `13.1-slim`, `bookworm-20250520`, `trixie-backports`.
_TAG = re.compile(r"(?P<release>[a-z]+|\d+(?:\.\d+)?)(?:-(?P<date>\d{8}))?(?:-(?P<kind>slim|backports))?")


class Suite(msgspec.Struct, frozen=True):
    """One release, as far as its image differs from the plain rule."""

    version: str
    extra: tuple[str, ...] = ()
    merged: tuple[str, ...] = ()
    old: bool = False
    split: bool = False
    linked: bool = False


class Distribution(msgspec.Struct, frozen=True):
    """A distribution, as `distributions.toml` has it."""

    image: str
    latest: str
    components: tuple[str, ...]
    keyrings: tuple[str, ...]
    keyring_package: str
    old_keyrings: tuple[str, ...]
    moving: tuple[str, ...]
    rolling: tuple[str, ...]
    suite: dict[str, Suite]
    mirror: str = ""
    security: str = ""
    ports: str = ""


class Release(msgspec.Struct, frozen=True):
    """A base image that a tag names."""

    distribution: str
    # As the archive calls it.
    suite: str
    slim: bool = False
    backports: bool = False
    # YYYYMMDD: the archive as it was then; empty for today's.
    date: str = ""

    @property
    def facts(self) -> Suite:
        """What is known of the release; nothing special of one that moves."""
        return distributions()[self.distribution].suite.get(self.suite, Suite(""))

    @property
    def whole(self) -> Distribution:
        """Its distribution."""
        return distributions()[self.distribution]


class Archives(msgspec.Struct, frozen=True):
    """Where a release's packages are: mirror, and security updates beside it (empty: there are none)."""

    mirror: str
    security: str
    suites: tuple[str, ...]
    security_suite: str = ""

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Every archive and suite in it."""
        extra = ((self.security, self.security_suite),) if self.security_suite else ()
        return (*((self.mirror, suite) for suite in self.suites), *extra)


@cache
def distributions() -> dict[str, Distribution]:
    """The distributions by name."""
    data = tomllib.loads((DATA / "distributions.toml").read_text())
    return msgspec.convert(data, dict[str, Distribution])


def release_of(reference: Reference) -> Release | None:
    """The base that an image is; None for every other image."""
    owner, _, name = reference.repository.partition("/")
    found = distributions().get(name)
    if found is None or reference.digest or reference.registry != found.image.partition("/")[0]:
        return None
    # Docker Hub has the images of one CPU under its name too: `arm64v8/debian`.
    if owner != "library" and owner not in {arch.library for arch in Arch}:
        return None
    match = _TAG.fullmatch(_settled(found, reference.tag))
    if match is None:
        return None
    names = {suite.version: name for name, suite in found.suite.items()}
    named = match["release"]
    # Debian's point releases: the archive has the newest only, which is what the others became.
    suite = names.get(named) or names.get(named.partition(".")[0]) or named
    if suite not in (*found.suite, *found.moving, *found.rolling) or (match["kind"] and name != "debian"):
        return None
    return Release(name, suite, match["kind"] == "slim", match["kind"] == "backports", match["date"] or "")


def _settled(found: Distribution, tag: str) -> str:
    return found.latest if tag in ("", "latest") else tag


def archives(release: Release, arch: Arch, mirror: str = "") -> Archives:
    """Where to get the packages; ``mirror`` takes the place of the distribution's own.

    What is old or dated is in other archives. A mirror of Ubuntu has its security updates, too.
    """
    suite, whole = release.suite, release.whole
    if release.distribution == "ubuntu":
        ported = arch not in (Arch.AMD64, Arch.I386)
        base = mirror or (whole.ports if ported else whole.mirror)
        security = mirror or (whole.ports if ported else whole.security)
        return Archives(base, security, (suite, f"{suite}-updates"), f"{suite}-security")
    if release.date:
        base = f"{_SNAPSHOT}/{release.date}T000000Z"
    else:
        base = _OLD if release.facts.old else (mirror or DEFAULT_MIRROR)
    if suite in whole.rolling:
        return Archives(base, "", (suite,))
    # Until 10, security updates had another name.
    old_name = release.facts.version in ("8", "9", "10")
    suites = (suite,) if release.facts.old else (suite, f"{suite}-updates")
    return Archives(
        base, security_mirror(base), suites, f"{suite}/updates" if old_name else f"{suite}-security"
    )
