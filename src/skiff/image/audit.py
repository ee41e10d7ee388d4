"""An image's packages held against the security tracker's data: which holes they have, which are mended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from skiff.host.errors import UserError
from skiff.host.tracker import Tracker
from skiff.image.report import require_image
from skiff.model.packages import Package
from skiff.model.version import key, without_rebuild

# Kernels are built from `linux`, then signed: the packages come from a source of another name.
_SIGNED = "linux-signed-"


class Installed(msgspec.Struct, frozen=True, order=True):
    """A source package of which the image has something."""

    source: str
    version: str
    packages: tuple[str, ...]


class Finding(msgspec.Struct, frozen=True):
    """A hole in a package of the image."""

    source: str
    version: str
    packages: tuple[str, ...]
    hole: str
    # The version that mends it; empty when there is none yet.
    fixed: str
    urgency: str
    description: str


def of_image(folder: Path) -> list[Installed]:
    """The packages of a built image. Raises UserError when there is none, or it is not made of Debian's."""
    _, manifest = require_image(folder)
    facts = [(fact.source, fact.version, fact.name) for fact in manifest.packages if fact.source]
    if not facts:
        raise UserError(
            f"{folder}: this image names no source packages of Debian",
            hint="build it again if an older Skiff did; of what Buildroot compiled, Debian knows nothing",
        )
    return _by_source(facts)


def unknown(folder: Path) -> int:
    """How many packages of a built image are not Debian's, so that it tells no holes of theirs."""
    _, manifest = require_image(folder)
    return sum(not fact.source for fact in manifest.packages)


def of_packages(packages: Iterable[Package]) -> list[Installed]:
    """The packages of a lock."""
    return _by_source((item.source, item.version, item.name) for item in packages)


def _by_source(facts: Iterable[tuple[str, str, str]]) -> list[Installed]:
    names: dict[tuple[str, str], list[str]] = {}
    for source, version, name in facts:
        source = "linux" if source.startswith(_SIGNED) else source
        names.setdefault((source, without_rebuild(version)), []).append(name)
    return sorted(Installed(*what, tuple(sorted(packages))) for what, packages in names.items())


def audit(installed: Sequence[Installed], tracker: Tracker, suite: str) -> list[Finding]:
    """The holes of what is installed: those that a newer version mends first, then the open ones.

    Holes that Debian calls unimportant are left out, as its own lists do.
    """
    found = []
    for item in installed:
        for name, hole in tracker.get(item.source, {}).items():
            release = hole.releases.get(suite)
            if release is None or release.urgency == "unimportant":
                continue
            fixed = release.fixed_version if release.status == "resolved" else ""
            if release.status != "open" and (not fixed or key(item.version) >= key(fixed)):
                continue
            found.append(
                Finding(
                    item.source,
                    item.version,
                    item.packages,
                    name,
                    fixed,
                    release.urgency,
                    hole.description,
                )
            )
    return sorted(found, key=lambda one: (not one.fixed, one.source, one.hole))
