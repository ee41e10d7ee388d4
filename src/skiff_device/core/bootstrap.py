"""Makes the base image of a build from Debian packages alone: download, unpack, set up."""

from __future__ import annotations

import errno
import hashlib
import http.client
import shutil
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from skiff_device.common import run
from skiff_device.common.errors import DeviceError
from skiff_device.core import baselock, basetree, engine
from skiff_device.core.baselock import BaseLock, Deb
from skiff_device.core.errors import told
from skiff_device.core.paths import Paths

# Seconds without a byte after which a server counts as out of reach.
_TIMEOUT = 30.0
_BLOCK = 1 << 16
# Name of the container and the image that are gone when all is done. One base is made at a time.
_MAKING = "skiff-base-making"
# What dpkg would run before it unpacks a package, and then all that is left to it. Variables are set here:
# those of the container would be the image's too.
_SET_UP = """\
set -e
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true LC_ALL=C.UTF-8
export DPKG_MAINTSCRIPT_NAME=preinst DPKG_MAINTSCRIPT_PACKAGE DPKG_MAINTSCRIPT_ARCH
DPKG_MAINTSCRIPT_ARCH=$(dpkg --print-architecture)
for script in /var/lib/dpkg/info/*.preinst; do
	package=${script##*/}
	package=${package%.preinst}
	DPKG_MAINTSCRIPT_PACKAGE=${package%:*}
	"$script" install
done
dpkg --configure --pending
dpkg --audit
rm -rf /var/cache/debconf/*-old /var/lib/dpkg/*-old /var/log/*.log
"""
_OFFLINE = "needs a network, or the files named in base.lock in skiff/core/debs/ on persist"


def make_base(source: Path, tag: str, log: run.Log) -> None:
    """Make the image ``tag`` of the packages that ``source``/base.lock lists.

    Package files stay on persist until it is there, so a power cut costs little. Raises DeviceError.
    """
    paths = Paths()
    try:
        lock = baselock.read(source / "base.lock")
        own = baselock.own_mirror((paths.persist / "debian-mirror", paths.root / "etc/skiff/debian-mirror"))
        folder = paths.persist / "debs"
        debs = fetch(lock, own, folder, log)
        _make(lock, own or lock.mirrors["main"], debs, tag, log)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise told(error) from error
        raise DeviceError(f"the base image cannot be made: {error}") from error
    shutil.rmtree(folder / "fetched", ignore_errors=True)
    log(f"{tag} is made")


def fetch(lock: BaseLock, own: str, folder: Path, log: run.Log) -> dict[str, Path]:
    """Every package file by name, checked: the user's in ``folder``, or fetched into `fetched` below it.

    Raises DeviceError when one cannot be had anywhere.
    """
    fetched = folder / "fetched"
    fetched.mkdir(parents=True, exist_ok=True)
    found: dict[str, Path] = {}
    done = told = 0
    for number, deb in enumerate(lock.debs, 1):
        given = folder / deb.file
        found[deb.name] = given if _right(given, deb) else _fetched(lock, deb, own, fetched, log)
        done += deb.size
        # A line for every tenth part.
        if done * 10 // lock.size > told:
            told = done * 10 // lock.size
            log(f"packages: {number} of {len(lock.debs)}, {done / 1e6:.0f} of {lock.size / 1e6:.0f} MB")
    return found


def _right(file: Path, deb: Deb) -> bool:
    try:
        if file.stat().st_size != deb.size:
            return False
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == deb.sha256
    except OSError:
        return False


def _fetched(lock: BaseLock, deb: Deb, own: str, folder: Path, log: run.Log) -> Path:
    target = folder / deb.file
    if _right(target, deb):
        return target
    reasons = []
    for url in baselock.addresses(lock, deb, own):
        try:
            _download(url, deb, target)
            return target
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            reasons.append(f"{url}: {getattr(error, 'reason', error)}")
    for reason in reasons:
        log(reason)
    raise DeviceError(f"package {deb.name} {deb.version} cannot be fetched ({reasons[0]})", _OFFLINE)


def _download(url: str, deb: Deb, target: Path) -> None:
    """Fetch one file. Raises OSError or ValueError when it is not had, or is not the right one."""
    partial = target.with_name(f".{target.name}.partial")
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer, partial.open("wb") as out:
            left = deb.size
            while part := answer.read(min(_BLOCK, left + 1)):
                left -= len(part)
                if left < 0:
                    break
                digest.update(part)
                out.write(part)
        if left != 0 or digest.hexdigest() != deb.sha256:
            raise ValueError("not the file that base.lock names: wrong size or checksum")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _make(lock: BaseLock, mirror: str, debs: dict[str, Path], tag: str, log: run.Log) -> None:
    """From package files to the image."""
    _tidy()
    security = lock.mirrors["security"] if mirror == lock.mirrors["main"] else baselock.security_of(mirror)
    sources = basetree.sources_list(lock.suite, mirror, security)
    try:
        steps = _Steps("unpacked", len(debs), log)
        result = run.feed(
            ["docker", "import", "-", _MAKING],
            lambda out: basetree.write(list(debs.values()), sources, out, steps.reached),
        )
        if result.status:
            raise engine.error_of("the packages of the base cannot be unpacked", result.err)
        _set_up(len(debs), log)
        engine.ask("commit", "--change", 'CMD ["bash"]', _MAKING, tag, what=f"{tag} cannot be made")
    finally:
        _tidy()


def _set_up(total: int, log: run.Log) -> None:
    words = ["docker", "run", "--name", _MAKING, "--network", "none", _MAKING, "/bin/sh", "-c", _SET_UP]
    steps = _Steps("set up", total, log)

    def shown(line: str) -> None:
        if line.startswith("Setting up "):
            steps.reached(steps.done + 1)

    result = run.stream(words, shown)
    if result.status:
        last = [line for line in result.err.splitlines() if line.strip()]
        for line in last:
            log(line)
        raise engine.error_of("the packages of the base cannot be set up", "\n".join(last))


class _Steps:
    """A line for every tenth package."""

    def __init__(self, what: str, total: int, log: run.Log) -> None:
        self.what = what
        self.total = total
        self.log = log
        self.done = 0

    def reached(self, done: int) -> None:
        self.done = done
        if done % 10 == 0 or done == self.total:
            self.log(f"{self.what}: {done} of {self.total}")


def _tidy() -> None:
    """Remove what this, or one that was cut off, leaves behind."""
    with suppress(DeviceError):
        run.capture(["docker", "rm", "--force", "--volumes", _MAKING])
        run.capture(["docker", "image", "rm", "--force", _MAKING])
