"""Runs Buildroot's make: progress by package, the whole log kept, and of a failure what matters."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from skiff.builders.buildroot.external import Places
from skiff.builders.buildroot.release import Release
from skiff.builders.watched import follow
from skiff.host.errors import UserError
from skiff.host.run import CommandError, run

# Buildroot's own line for each step: `>>> busybox 1.37.0 Building`.
_STEP = re.compile(r"^(?:\x1b\[[0-9;]*m)?>>> (\S+) (.*?)(?:\x1b\[[0-9;]*m)?$")
# Lines shown of a package that failed.
_TAIL = 25
# What the user has set for other builds must not get in.
_FOREIGN = (
    "MAKEFLAGS",
    "MAKEOVERRIDES",
    "CFLAGS",
    "CXXFLAGS",
    "CPPFLAGS",
    "LDFLAGS",
    "ARCH",
    "CROSS_COMPILE",
)


class PackageInfo(msgspec.Struct, frozen=True):
    """What Buildroot says of a package it will build."""

    name: str
    version: str
    licences: tuple[str, ...]
    # File names below the folder of downloads; none when a folder of a layer's takes their place.
    sources: tuple[str, ...]
    build_dir: str


class Make:
    """Calls make in one output folder."""

    def __init__(self, release: Release, places: Places, externals: Sequence[Path], log: Path) -> None:
        self.release = release
        self.externals = externals
        self.places = places
        self.log = log

    @property
    def words(self) -> list[str]:
        """The command without a target."""
        return [
            "make",
            "-C",
            str(self.release.root),
            f"O={self.places.output}",
            f"BR2_EXTERNAL={':'.join(str(path) for path in self.externals)}",
        ]

    @property
    def environment(self) -> Mapping[str, str]:
        """Added to the environment."""
        # GNU tar's configure asks for it, where root builds: in containers.
        root = {"FORCE_UNSAFE_CONFIGURE": "1"} if os.geteuid() == 0 else {}
        return {**dict.fromkeys(_FOREIGN, ""), "LC_ALL": "C", "TZ": "UTC", **root}

    def defconfig(self, file: Path) -> None:
        """Make the final configuration of a defconfig."""
        run([*self.words, "-s", f"BR2_DEFCONFIG={file}", "defconfig"], env=self.environment)

    def packages(self) -> list[PackageInfo]:
        """All that will be built, for the device and for the build itself."""
        text = run([*self.words, "-s", "--no-print-directory", "show-info"], env=self.environment).stdout
        found = msgspec.json.decode(text)
        # What packs the root file system is listed too, and leaves no stamp when it is done.
        return [_package(name, facts) for name, facts in found.items() if facts.get("type") != "rootfs"]

    def run(self, targets: Sequence[str], detail: Callable[[str], None], done: Callable[[str], None]) -> None:
        """Make the targets. ``detail`` hears each step, ``done`` each package that is finished.

        Output goes to the log, which grows. Raises UserError with the end of the failing package's output.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        argv = [*self.words, *targets]
        watch = _Watch(detail, done)
        with self.log.open("ab", buffering=0) as log:
            status = follow(argv, self.environment, watch.line, log)
        if status:
            raise self._failed(argv, status, watch)
        watch.end()

    def _failed(self, argv: Sequence[str], status: int, watch: _Watch) -> UserError:
        tail = "\n".join(f"  {line}" for line in watch.tail)
        if any("No space left on device" in line for line in watch.tail):
            return UserError(
                f"no space left on disk while building {watch.package}\n{tail}",
                hint="free some space and build again: it goes on where it stopped",
            )
        if not watch.package:
            return CommandError(argv, status, tail)
        if watch.step.endswith("Downloading"):
            name = watch.package.removeprefix("host-")
            return UserError(
                f"the source of package {watch.package} cannot be fetched\n{tail}",
                hint=f"check the network; [buildroot.source.{name}] in a layer of yours names another source",
            )
        return UserError(
            f"package {watch.package} failed: {watch.step}\n{tail}",
            hint=f"all of it is in {self.log}; `skiff br -- {watch.package}` goes on with it alone, after "
            f"`skiff br -- {watch.package}-dirclean` from its source",
        )


class _Watch:
    """Follows make's output: which package, which step, its last lines."""

    def __init__(self, detail: Callable[[str], None], done: Callable[[str], None]) -> None:
        self.detail = detail
        self.done = done
        self.package = ""
        self.step = ""
        self.tail: deque[str] = deque(maxlen=_TAIL)

    def line(self, text: str) -> None:
        found = _STEP.match(text)
        if found is None:
            self.tail.append(text)
            return
        # The version may be missing, and the step has several words: `>>>   Finalizing target directory`.
        if found[1] != self.package:
            self.end()
            self.package = found[1]
        self.step = found[2]
        self.tail.clear()
        self.detail(f"{self.package} {self.step}".strip())

    def end(self) -> None:
        if self.package:
            self.done(self.package)


def _package(name: str, facts: dict[str, object]) -> PackageInfo:
    plain = msgspec.convert(facts, _Facts)
    folder = plain.dl_dir or name
    # Buildroot's word for a package whose source is a folder.
    overridden = (plain.build_dir or "").rstrip("/").endswith("-custom")
    return PackageInfo(
        name=name,
        version=plain.version or "",
        licences=tuple(word.strip() for word in (plain.licenses or "").split(",") if word.strip()),
        sources=() if overridden else tuple(f"{folder}/{item['source']}" for item in plain.downloads),
        build_dir=plain.build_dir or "",
    )


class _Facts(msgspec.Struct):
    """The part of `make show-info` that is read."""

    version: str | None = None
    licenses: str | None = None
    dl_dir: str | None = None
    build_dir: str | None = None
    downloads: list[dict[str, object]] = []


def is_built(package: PackageInfo, output: Path) -> bool:
    """Whether a package was finished before, by the stamp that Buildroot leaves."""
    return bool(package.build_dir) and (output / package.build_dir / ".stamp_installed").exists()
