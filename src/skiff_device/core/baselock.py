"""Reads base.lock: which Debian packages a base image is made of, and where each can be had."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import NamedTuple

from skiff_device.common.errors import DeviceError

_SHA = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]+")
_POOL = re.compile(r"pool(/[A-Za-z0-9][A-Za-z0-9.+~_-]*)+\.deb")
_URL = re.compile(r"https?://[^\s'\"]+")
_DATED = re.compile(r"/archive/debian/(?=[0-9TZ]+/?$)")
_KEYS = ("suite", "cpu", "main", "security", "date")
_DATE = "%Y%m%dT%H%M%SZ"
_SNAPSHOT = "http://snapshot.debian.org/archive"
# The archive of old packages looks at the mirrors four times a day: what is new is there hours later.
_SNAPSHOT_LATE = datetime.timedelta(hours=12)


class Deb(NamedTuple):
    """One package file. size in bytes; archive is `main` or `security`."""

    name: str
    version: str
    sha256: str
    size: int
    pool: str
    archive: str

    @property
    def file(self) -> str:
        """Name of the file."""
        return self.pool.rpartition("/")[2]


class BaseLock(NamedTuple):
    """A whole base.lock."""

    suite: str
    cpu: str
    mirrors: dict[str, str]
    date: datetime.datetime
    debs: tuple[Deb, ...]

    @property
    def size(self) -> int:
        """Bytes of all package files."""
        return sum(deb.size for deb in self.debs)


def read(path: Path) -> BaseLock:
    """The file's content. Raises DeviceError with file and line when it is not what a build wrote."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DeviceError(f"{path}: cannot be read: {error}") from error
    head: dict[str, str] = {}
    debs: list[Deb] = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) == 2 and words[0] in _KEYS:
            head[words[0]] = words[1]
            continue
        deb = _deb(words)
        if deb is None:
            raise DeviceError(f"{path}:{number}: not a line of a base.lock", "build the image again")
        debs.append(deb)
    return _whole(path, head, debs)


def _deb(words: list[str]) -> Deb | None:
    if len(words) != 6:
        return None
    name, version, sha256, size, pool, archive = words
    good = (
        _NAME.fullmatch(name)
        and _SHA.fullmatch(sha256)
        and re.fullmatch(r"[0-9]{1,12}", size)
        and _POOL.fullmatch(pool)
        and archive in ("main", "security")
    )
    return Deb(name, version, sha256, int(size), pool, archive) if good else None


def _whole(path: Path, head: dict[str, str], debs: list[Deb]) -> BaseLock:
    missing = [key for key in _KEYS if key not in head]
    if missing or not debs:
        what = f"{missing[0]} is missing" if missing else "it names no packages"
        raise DeviceError(f"{path}: {what}", "build the image again")
    mirrors = {key: head[key].rstrip("/") for key in ("main", "security")}
    try:
        date = datetime.datetime.strptime(head["date"], _DATE)
    except ValueError:
        raise DeviceError(f"{path}: date: expected YYYYMMDDTHHMMSSZ", "build the image again") from None
    bad = [url for url in mirrors.values() if not _URL.fullmatch(url)]
    if bad or not re.fullmatch(r"[a-z0-9-]+", head["suite"]):
        raise DeviceError(
            f"{path}: {(*bad, head['suite'])[0]} is not expected there", "build the image again"
        )
    return BaseLock(head["suite"], head["cpu"], mirrors, date, tuple(debs))


def security_of(mirror: str) -> str:
    """Where the security updates are that belong to a mirror."""
    if _DATED.search(mirror):
        return _DATED.sub("/archive/debian-security/", mirror)
    return f"{mirror}-security" if mirror.endswith("/debian") else "http://deb.debian.org/debian-security"


def own_mirror(files: tuple[Path, ...]) -> str:
    """The mirror that the first of these files names; empty when none does. Raises DeviceError for no URL."""
    for file in files:
        try:
            text = file.read_text(errors="replace")
        except OSError:
            continue
        url = next((line.strip() for line in text.splitlines() if line.strip()[:1] not in ("", "#")), "")
        if not url:
            continue
        if not url.startswith("http://") or not _URL.fullmatch(url):
            raise DeviceError(
                f"{file}: {url!r} is not the http:// address of a Debian mirror",
                "one line like http://deb.debian.org/debian: packages are checked by their checksum",
            )
        return url.rstrip("/")
    return ""


def addresses(lock: BaseLock, deb: Deb, own: str) -> list[str]:
    """Where to ask for a package, in this order: the user's mirror, the lock's, the archive of old ones."""
    bases = [{"main": own, "security": security_of(own)}] if own else []
    bases.append(lock.mirrors)
    for date in (lock.date + _SNAPSHOT_LATE, lock.date):
        day = date.strftime(_DATE)
        bases.append({"main": f"{_SNAPSHOT}/debian/{day}", "security": f"{_SNAPSHOT}/debian-security/{day}"})
    quoted = deb.pool.replace("+", "%2B").replace("~", "%7E")
    # https needs a library that no image carries for this alone; the mirrors speak http as well.
    urls = [f"{base[deb.archive]}/{quoted}".replace("https://", "http://", 1) for base in bases]
    return list(dict.fromkeys(urls))
