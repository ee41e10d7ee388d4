"""Packages from a signed Debian archive: apt resolves and downloads, in folders of our own."""

from __future__ import annotations

import email.utils
import os
import re
import shutil
import time
import urllib.parse
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from skiff.host import json
from skiff.host.errors import UserError, disk_full
from skiff.host.files import digest, file_digest, write_atomic
from skiff.host.lock import waiting
from skiff.host.mirror import DEFAULT_MIRROR, SNAPSHOT, host_mirror, security_mirror
from skiff.host.run import CommandError, require, run
from skiff.model.arch import Arch
from skiff.model.packages import Package, PackageSet

SUITE = "trixie"
_SUITES = (SUITE, f"{SUITE}-updates", f"{SUITE}-security")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# Age in seconds after which the archive's lists are fetched anew.
LISTS_MAX_AGE = 24 * 3600
# Bytes that the lists take while they are fetched, with apt's index of them.
_LISTS_ROOM = 150_000_000
_LISTS_DIFFER = (
    "this mirror's lists are not those of its signed Release file: try again when its update has ended, "
    "or use another with --mirror URL (a dated one too: http://snapshot.debian.org/archive/debian/DATE)"
)
_URI = re.compile(r"^'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha>[0-9a-f]{64})$")
_MIRROR = re.compile(r"[a-z][a-z0-9+.-]*:/\S+")
Progress = Callable[[str], None]
# Where apt keeps things, below a folder of ours.
_APT_FOLDERS = ("lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d", "log")

T = TypeVar("T")


class NoSuchPackage(UserError):
    """Packages that were asked for and that the archive does not have for the CPU."""

    def __init__(self, names: Sequence[str], arch: Arch) -> None:
        self.names = tuple(names)
        super().__init__(
            f"Debian {SUITE} has no package {', '.join(names)} for {arch.debian}",
            hint="put `debian.packages`, `kernel.package` or `arch` right in that layer",
        )


class Archive:
    """A Debian mirror seen through apt, with state and cache below ``cache``."""

    # What its lists are of: `deb` for binary packages, `deb-src` for source packages.
    types = "deb"

    def __init__(self, arch: Arch, cache: Path, mirror: str | None = None) -> None:
        require("apt-get", "dpkg-deb")
        if not KEYRING.exists():
            raise UserError(
                f"{KEYRING} is missing: package signatures cannot be checked",
                hint="sudo apt-get install debian-archive-keyring",
            )
        self.arch = arch
        self.mirror = (mirror or host_mirror() or DEFAULT_MIRROR).rstrip("/")
        if not _MIRROR.fullmatch(self.mirror):
            raise UserError(
                f"{self.mirror!r} is no address of a mirror", hint=f"as in --mirror {DEFAULT_MIRROR}"
            )
        self.debs = cache / "debs"
        name = digest(f"{SUITE} {arch.value} {self.mirror}")[:12]
        kind = arch.value if self.types == "deb" else "source"
        self.state = cache / "apt" / f"{SUITE}-{kind}-{name}"
        # Another build may ask the same archive: its lists are not to change while they are read.
        self._lock = self.state / ".lock"

    @property
    def _security(self) -> str:
        return security_mirror(self.mirror)

    def _apt(self, argv: Sequence[str], provided: Sequence[str] = ()) -> str:
        conf = self._configure(provided)
        # LC_ALL: messages are matched below.
        done = run(argv, env={"APT_CONFIG": str(conf), "LC_ALL": "C"})
        return done.stdout.decode()

    def _configure(self, provided: Sequence[str]) -> Path:
        """Write apt's configuration. ``provided`` packages are shown to it as installed.

        Those are in the files' names, for another build may show it others at the same time.
        """
        name = f"-{digest(repr(tuple(provided)))[:12]}" if provided else ""
        for folder in _APT_FOLDERS:
            (self.state / folder).mkdir(parents=True, exist_ok=True)
        status = self.state / f"status{name}"
        write_atomic(status, "\n".join(self._installed(package) for package in provided).encode())
        write_atomic(self.state / "debian.sources", self._sources().encode())
        conf = self.state / f"apt{name}.conf"
        text = "".join(f'{key} "{value}";\n' for key, value in self._settings(status).items())
        write_atomic(conf, text.encode())
        return conf

    def _installed(self, package: str) -> str:
        """What dpkg's status file says of a package that the image has from elsewhere."""
        return (
            f"Package: {package}\nStatus: install ok installed\nVersion: 9999:0\n"
            f"Architecture: {self.arch.debian}\nMulti-Arch: allowed\nMaintainer: none\n"
            "Description: provided by the image\n"
        )

    def _sources(self) -> str:
        """The archive and its security updates, as sources.list(5) has them."""
        return "".join(
            f"Types: {self.types}\nURIs: {uri}\nSuites: {suites}\nComponents: main non-free-firmware\n"
            f"Signed-By: {KEYRING}\n\n"
            for uri, suites in (
                (self.mirror, f"{SUITE} {SUITE}-updates"),
                (self._security, f"{SUITE}-security"),
            )
        )

    def _settings(self, status: Path) -> dict[str, object]:
        """apt.conf(5): all of apt's files are ours, and nothing unsigned is taken."""
        return {
            "Dir::State": self.state,
            "Dir::State::lists": self.state / "lists",
            "Dir::State::status": status,
            "Dir::Cache": self.state / "cache",
            "Dir::Log": self.state / "log",
            "Dir::Etc": self.state / "etc",
            "Dir::Etc::sourcelist": self.state / "debian.sources",
            "Dir::Etc::sourceparts": "/dev/null",
            "APT::Architecture": self.arch.debian,
            "APT::Architectures": self.arch.debian,
            "APT::Install-Recommends": "false",
            "APT::Get::AllowUnauthenticated": "false",
            "Acquire::AllowInsecureRepositories": "false",
            # What is old on purpose is past its date. The signatures are checked all the same.
            "Acquire::Check-Valid-Until": "false" if SNAPSHOT.search(self.mirror) else "true",
            "Acquire::Languages": "none",
            "Acquire::ForceHash": "SHA256",
            "Acquire::Retries": "2",
            # The state folder may be unreadable for apt's own user; the downloads are checked by hash.
            "APT::Sandbox::User": "",
        }

    @property
    def _release_files(self) -> list[Path]:
        return sorted((self.state / "lists").glob("*_InRelease"))

    def update(self, *, force: bool, warn: Progress) -> None:
        """Fetch the archive's signed lists when they are older than a day, or when forced.

        Without network, lists that are there already are used with a warning.
        Raises UserError when there are none, and always when a signature is wrong.
        """
        # What another build fetched while this one waited is new enough.
        needed = time.time() - (0 if force else LISTS_MAX_AGE)
        stamp = self.state / "updated"
        with waiting(self._lock):
            if not stamp.exists() or stamp.stat().st_mtime < needed:
                self._update(stamp, warn)

    def _update(self, stamp: Path, warn: Progress) -> None:
        if shutil.disk_usage(self.state).free < _LISTS_ROOM:
            # apt's methods stand still for good when the disk fills up under them.
            raise disk_full(f"package lists need {_LISTS_ROOM // 10**6} MB in {self.state}")
        try:
            self._apt(["apt-get", "update", "-qq", "-o", "APT::Update::Error-Mode=any"])
        except CommandError as error:
            if re.search(
                r"not signed|NO_PUBKEY|BADSIG|EXPKEYSIG|invalid signature|Hash Sum mismatch", error.output
            ):
                raise UserError(
                    f"the package lists of {self.mirror} carry no valid signature of Debian:\n"
                    f"{_reasons(error)}",
                    hint="use another mirror (--mirror URL); nothing of these lists was used",
                ) from error
            if not stamp.exists():
                raise UserError(
                    f"the package lists of {self.mirror} could not be fetched:\n{_reasons(error)}",
                    hint=_LISTS_DIFFER
                    if "Mirror sync in progress" in error.output
                    else "check the network, or name a mirror in reach with --mirror URL",
                ) from error
            warn(f"no network to {self.mirror}: going on with the package lists fetched earlier")
            return
        lists = self.state / "lists"
        wrong = [
            suite
            for suite in _SUITES
            if [_is_of(file, suite) for file in lists.glob(f"*_dists_{suite}_InRelease")] != [True]
        ]
        if wrong:
            stamp.unlink(missing_ok=True)
            raise UserError(
                f"{self.mirror} answers for {', '.join(wrong)} with the lists of another suite",
                hint="use another mirror (--mirror URL); nothing of these lists was used",
            )
        stamp.touch()

    def resolve(self, request: Sequence[str], provided: Sequence[str]) -> PackageSet:
        """Let apt choose versions and dependencies. Raises UserError for a package that is not there."""
        argv = ["apt-get", "install", "--print-uris", "-y", *request]
        try:
            with waiting(self._lock):
                listing, epoch = self._apt(argv, provided), self._epoch()
        except CommandError as error:
            raise self._unresolved(error) from error
        packages = []
        for line in listing.splitlines():
            found = _URI.match(line)
            if found:
                packages.append(self._package(found))
        return PackageSet(
            arch=self.arch,
            suite=SUITE,
            request=tuple(request),
            provided=tuple(provided),
            epoch=epoch,
            packages=tuple(sorted(packages)),
        )

    def _package(self, found: re.Match[str]) -> Package:
        base, path = self._place(found["uri"])
        name, version, arch = found["file"].removesuffix(".deb").split("_")
        return Package(
            name=name,
            version=urllib.parse.unquote(version),
            arch=arch,
            sha256=found["sha"],
            bytes=int(found["size"]),
            base=base,
            path=path,
        )

    def _place(self, uri: str) -> tuple[str, str]:
        """Which archive (`main`, `security`) a URI of apt's is of, and the path below that."""
        kind, base = next(
            (kind, base)
            for kind, base in (("security", self._security), ("main", self.mirror))
            if uri.startswith(base + "/")
        )
        return kind, urllib.parse.unquote(uri[len(base) + 1 :])

    def _epoch(self) -> int:
        dates = [
            email.utils.parsedate_to_datetime(line.partition(":")[2].strip()).timestamp()
            for file in self._release_files
            for line in file.read_text(errors="replace").splitlines()
            if line.startswith("Date:")
        ]
        return int(max(dates))

    def _unresolved(self, error: CommandError) -> UserError:
        missing = re.findall(r"E: Unable to locate package (\S+)", error.output)
        missing += re.findall(r"Package '?([^'\s]+)'? has no installation candidate", error.output)
        missing += re.findall(r"Couldn't find any package by \S+ '([^']+)'", error.output)
        if missing:
            return NoSuchPackage(sorted(set(missing)), self.arch)
        return UserError(
            f"apt found no consistent set of packages for {self.arch.debian}:\n{_reasons(error)}"
        )

    def fetch(self, packages: Sequence[Package], detail: Progress) -> dict[str, Path]:
        """Have every package file in the cache, checked; returns its path by sha256.

        Raises UserError when one cannot be had or has a wrong checksum.
        """
        self.debs.mkdir(parents=True, exist_ok=True)
        paths = {item.sha256: self.debs / f"{item.sha256}.deb" for item in packages}
        wanted = [item for item in packages if not paths[item.sha256].exists()]
        for start in range(0, len(wanted), 16):
            batch = wanted[start : start + 16]
            detail(f"{start} of {len(wanted)}")
            self._download(batch, paths)
        missing = [item.name for item in packages if not paths[item.sha256].exists()]
        if missing:
            raise UserError(f"packages could not be fetched from {self.mirror}: {', '.join(missing)}")
        return paths

    def _download(self, batch: Sequence[Package], paths: dict[str, Path]) -> None:
        words = []
        # Of this process: another build may fetch the same package now.
        partials = {item.sha256: paths[item.sha256].with_suffix(f".{os.getpid()}") for item in batch}
        for item in batch:
            base = self._security if item.base == "security" else self.mirror
            words += [
                f"{base}/{urllib.parse.quote(item.path)}",
                str(partials[item.sha256]),
                f"SHA256:{item.sha256}",
            ]
        try:
            self._apt(["/usr/lib/apt/apt-helper", "-qq", "download-file", *words])
        except CommandError as error:
            if "Hash Sum mismatch" in error.output or "Hashes of" in error.output:
                raise UserError(
                    f"a package of {self.mirror} has a wrong checksum and was thrown away:\n"
                    f"{_reasons(error)}",
                    hint="try again, or use another mirror (--mirror URL)",
                ) from error
            raise UserError(
                f"packages could not be fetched from {self.mirror}:\n{_reasons(error)}",
                hint="check network and disk space; a version that a lock names may be gone from this mirror "
                "(`skiff lock` makes a new one, --mirror may name a snapshot)",
            ) from error
        finally:
            for sha256, partial in partials.items():
                if partial.exists() and file_digest(partial) == sha256:
                    partial.replace(paths[sha256])
                partial.unlink(missing_ok=True)


def _is_of(file: Path, suite: str) -> bool:
    """Whether a Release file is a suite's: all are signed, older ones too, and apt only warns of another."""
    text = file.read_text(errors="replace").partition("\n\n")[2]
    # What stands around the signed text says nothing.
    signed = text.partition("\n-----BEGIN PGP SIGNATURE")[0].splitlines()
    return f"Suite: {suite}" in signed or f"Codename: {suite}" in signed


def _reasons(error: CommandError) -> str:
    lines = [line for line in error.output.splitlines() if line.startswith(("E:", "W:", "Err:", " "))]
    return "\n".join(lines[-8:]) or error.output[-500:]


def of_today(file: Path, kind: type[T]) -> T | None:
    """An answer that was kept today; None without one, or when it cannot be read (another Skiff wrote it)."""
    with suppress(FileNotFoundError, msgspec.DecodeError):
        if time.time() - file.stat().st_mtime < LISTS_MAX_AGE:
            return json.decode(file.read_bytes(), kind)
    return None


class Resolver:
    """Answers "which packages" from a cache of earlier answers, a lock, or the archive."""

    def __init__(self, archive: Archive, cache: Path) -> None:
        self.archive = archive
        self.folder = cache / "resolved"

    def packages(
        self, request: Sequence[str], provided: Sequence[str], *, update: bool, warn: Progress
    ) -> PackageSet:
        """The package set for a request, at most a day old unless there is no network."""
        key = digest(
            repr((SUITE, self.archive.arch.value, self.archive.mirror, list(request), list(provided)))
        )
        file = self.folder / f"{key}.json"
        if not update and (known := of_today(file, PackageSet)) is not None:
            return known
        self.archive.update(force=update, warn=warn)
        resolved = self.archive.resolve(request, provided)
        write_atomic(file, json.encode(resolved))
        file.touch()
        return resolved
