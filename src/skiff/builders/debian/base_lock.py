"""Base images of Debian packages: the list of them, in the image, from which the device makes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from skiff.builders.debian.archive import Resolver
from skiff.host.mirror import DEFAULT_MIRROR, security_mirror
from skiff.model.arch import Arch
from skiff.model.layer import DebianBase
from skiff.model.packages import BaseLock, Package
from skiff.model.tree import Entry, Kind

# In every base; the essential packages are not named as dependencies.
_ALWAYS = ("?essential", "apt")


def lock_bases(
    bases: Sequence[DebianBase],
    resolver: Resolver,
    mirror: str | None,
    *,
    update: bool,
    warn: Callable[[str], None],
) -> tuple[BaseLock, ...]:
    """The packages of each base, as the archive has them now.

    ``mirror`` is the one the user named: this machine's own need not be in the device's reach. Raises
    UserError for a package that is not there.
    """
    if not bases:
        return ()
    named = (mirror or DEFAULT_MIRROR).rstrip("/")
    mirrors = {"main": named, "security": security_mirror(named)}
    locks = []
    for base in bases:
        found = resolver.packages((*_ALWAYS, *base.packages), (), update=update, warn=warn)
        locks.append(BaseLock(base.path, base.packages, mirrors, found.epoch, found.packages))
    return tuple(locks)


def base_files(arch: Arch, suite: str, locks: Sequence[BaseLock]) -> Iterator[tuple[str, Entry]]:
    """Path in the tree and entry of each list."""
    for lock in locks:
        text = lock_text(arch, suite, lock)
        yield lock.path, Entry(Kind.FILE, 0o644, "skiff", source=text.encode())


def lock_text(arch: Arch, suite: str, lock: BaseLock) -> str:
    """The list as the device reads it: a head of `KEY VALUE`, an empty line, then a line for each package."""
    date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(lock.epoch))
    head = {"suite": suite, "cpu": arch.debian, **lock.mirrors, "date": date}
    return "".join(
        [
            "# Debian packages of a base image, and where they are.\n",
            *(f"{key} {value}\n" for key, value in head.items()),
            "\n# NAME VERSION SHA256 SIZE POOL_PATH ARCHIVE\n",
            *map(_line, lock.packages),
        ]
    )


def _line(item: Package) -> str:
    words = [item.name, item.version, item.sha256, str(item.bytes), item.path, item.base]
    return " ".join(words) + "\n"
