"""The packages of a Debian base as one stream of tar, with what dpkg needs to set them up."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from skiff_device.core import debfile
from skiff_device.core.dpkgdata import Database

# Folders that are links into /usr since Debian 12. Packages of then may still name them.
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libo32", "libx32")
# What a container does without, here and for all that is installed later.
_LEFT_OUT = tuple(f"usr/share/{name}/" for name in ("doc", "info", "lintian", "locale", "man"))
_DPKG = """\
# Containers carry no documentation, except for licences; and a power cut is answered by making them anew.
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/info/*
path-exclude /usr/share/lintian/*
path-exclude /usr/share/locale/*
path-include /usr/share/locale/locale.alias
path-exclude /usr/share/man/*
force-unsafe-io
"""
_NO_SERVICES = "#!/bin/sh\n# Packages start no services while they are installed in a container.\nexit 101\n"


def sources_list(suite: str, main: str, security: str) -> str:
    """apt's sources for a mirror, with updates and security updates."""
    # A mirror that shows a day of the past is past its date on purpose.
    old = "Check-Valid-Until: no\n" if "/archive/debian" in main else ""
    return "\n".join(
        f"Types: deb\nURIs: {url}\nSuites: {suites}\nComponents: main\n"
        f"Signed-By: /usr/share/keyrings/debian-archive-keyring.pgp\n{old}"
        for url, suites in ((main, f"{suite} {suite}-updates"), (security, f"{suite}-security"))
    )


def write(debs: Sequence[Path], sources: str, out: IO[bytes], step: Callable[[int], None]) -> None:
    """Write the content of packages as one tar; ``step`` hears how many are done.

    Raises DeviceError for a package that cannot be read.
    """
    with tarfile.open(fileobj=out, mode="w|") as tar:
        tree = _Tree(tar)
        tree.start()
        for number, deb in enumerate(debs):
            tree.add_package(deb)
            step(number + 1)
        tree.finish(sources)


class _Tree:
    """The tar that grows, and what is in it."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self.tar = tar
        self.have: set[str] = set()
        self.known = Database()

    def start(self) -> None:
        for name in ("usr", "usr/bin", "usr/sbin", "usr/lib"):
            self._folder(name)
        for name in ("bin", "sbin", "lib"):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = tarfile.SYMTYPE, f"usr/{name}", 0o777
            self._add(info)

    def add_package(self, deb: Path) -> None:
        control = debfile.control(deb)
        settings = control.get("conffiles", b"").decode().split("\n")
        paths, sums = ["/."], {}
        for info, content in debfile.entries(deb):
            path = f"/{info.name}"
            paths.append(path)
            if content is not None and path in settings:
                data = content.read()
                # As dpkg knows them, which looks later whether somebody changed one.
                sums[path] = hashlib.md5(data, usedforsecurity=False).hexdigest()
                content = io.BytesIO(data)
            top, _, below = info.name.partition("/")
            if top in _MERGED and below:
                info.name = f"usr/{info.name}"
            elif top in _MERGED and info.isdir():
                continue
            if info.islnk() and info.linkname.partition("/")[0] in _MERGED:
                info.linkname = f"usr/{info.linkname}"
            if info.name in self.have or _left_out(info.name):
                continue
            self._add(info, content)
        self.known.add(control, paths, sums)

    def finish(self, sources: str) -> None:
        for name, data, mode in self.known.files():
            self._file(f"var/lib/dpkg/{name}", data, mode)
        self._file("etc/dpkg/dpkg.cfg.d/container", _DPKG.encode())
        self._file("etc/apt/sources.list.d/debian.sources", sources.encode())
        self._file("usr/sbin/policy-rc.d", _NO_SERVICES.encode(), 0o755)

    def _add(self, info: tarfile.TarInfo, content: IO[bytes] | None = None) -> None:
        # Names of owners belong to the machine that packed; the numbers count.
        info.uname = info.gname = ""
        self.have.add(info.name)
        self.tar.addfile(info, content)

    def _folder(self, name: str) -> None:
        if name in self.have:
            return
        info = tarfile.TarInfo(name)
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        self._add(info)

    def _file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(data), mode
        self._add(info, io.BytesIO(data))


def _left_out(name: str) -> bool:
    kept = name.endswith(("/copyright", "/locale.alias"))
    return name.startswith(_LEFT_OUT) and not kept and name.count("/") > 2
