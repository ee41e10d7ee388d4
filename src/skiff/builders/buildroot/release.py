"""The Buildroot that is built with: a folder of the user's, or the pinned release, fetched once."""

from __future__ import annotations

import re
import shutil
import tempfile
from importlib import resources
from pathlib import Path

import msgspec

from skiff.host import json
from skiff.host.errors import UserError
from skiff.host.files import keep_folder
from skiff.host.lock import waiting
from skiff.host.run import CommandError, require, run

# How a folder's name begins while git fills it.
_CLONE = ".clone-"


class Pin(msgspec.Struct, frozen=True):
    """A release: where it is, and the commit that is exactly its files."""

    version: str
    url: str
    tag: str
    commit: str


class Release(msgspec.Struct, frozen=True):
    """A tree of Buildroot."""

    root: Path
    version: str
    # Seconds since 1970, UTC: what it stamps files with.
    epoch: int

    @property
    def id(self) -> str:
        """Tells two trees apart, as far as their build does."""
        return f"{self.version} {self.epoch}"


def pin() -> Pin:
    """The release that the layers are checked against."""
    return json.decode(resources.files("skiff.builders.buildroot").joinpath("pin.json").read_bytes(), Pin)


def find(folder: Path | None, cache: Path) -> Release:
    """The tree to build with. Raises UserError when it is none, or the pinned one cannot be fetched."""
    return inspect(folder) if folder else inspect(_fetched(pin(), cache))


def inspect(root: Path) -> Release:
    """What a folder holds. Raises UserError when it is no Buildroot, or one of another year."""
    makefile = root / "Makefile"
    text = makefile.read_text(errors="replace") if makefile.is_file() else ""
    version = re.search(r"^export BR2_VERSION := (\S+)$", text, re.MULTILINE)
    epoch = re.search(r"^BR2_VERSION_EPOCH = (\d+)$", text, re.MULTILINE)
    if version is None or epoch is None:
        raise UserError(f"{root}: no Buildroot in this folder", hint="name its top folder, with its Makefile")
    wanted = pin().version
    if version[1][:4] != wanted[:4]:
        raise UserError(
            f"{root}: this is Buildroot {version[1]}, and the layers are made for {wanted}",
            hint="without --buildroot and BUILDROOT the right one is fetched",
        )
    return Release(root.resolve(), version[1], int(epoch[1]))


def _fetched(release: Pin, cache: Path) -> Path:
    """The pinned release in the cache. Its commit is a checksum over all of it."""
    target = cache / "buildroot" / release.commit
    if target.exists():
        return target
    require("git")
    # Another workspace may fetch it now: then it is there when that one is done.
    with waiting(cache / "buildroot.lock"):
        for left in target.parent.glob(f"{_CLONE}*"):
            # Of a run that was killed.
            shutil.rmtree(left, ignore_errors=True)
        return target if target.exists() else _clone(release, target)


def _clone(release: Pin, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=_CLONE, dir=target.parent))
    try:
        words = ["-c", "advice.detachedHead=false", "clone", "-q", "--depth", "1", "--branch", release.tag]
        run(["git", *words, release.url, scratch / "tree"])
        found = run(["git", "-C", scratch / "tree", "rev-parse", "HEAD"]).stdout.decode().strip()
        if found != release.commit:
            raise UserError(
                f"{release.url}: {release.tag} is commit {found}, not {release.commit}",
                hint="it was thrown away: the release there is not the one that was pinned",
            )
        keep_folder(scratch / "tree", target)
    except CommandError as error:
        raise UserError(
            f"Buildroot {release.version} cannot be fetched from {release.url}:\n{error.output.strip()}",
            hint="check the network, or name a folder that holds it: --buildroot DIR",
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target
