"""Build sources: where one is, what it contains (as a hash), and how it comes to lie in a folder."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skiff_device.common import run
from skiff_device.common.errors import DeviceError
from skiff_device.core.model import Build
from skiff_device.core.paths import Paths

_GIT = re.compile(r"(git|ssh)://|git\+[a-z]+://|[^/:@]+@[^/:]+:|https?://.*\.git(#.*)?$")
_URL = re.compile(r"https?://")
_TARBALL = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".zip")


def kind(source: str) -> str:
    """git, url (a tarball behind an address), tarball (a file) or folder."""
    if _GIT.match(source):
        return "git"
    if _URL.match(source):
        return "url"
    return "tarball" if source.endswith(_TARBALL) else "folder"


def place(build: Build, paths: Paths) -> Path:
    """Where a folder or tarball is; relative ones are looked up beside config.yaml."""
    if build.source.startswith("/"):
        return paths.at(build.source)
    return paths.persist / build.source


def fingerprint(build: Build, paths: Paths) -> str:
    """sha256 over everything that the build reads; empty when the source is not there.

    What stands behind an address is not looked at: the address counts. A `.git` folder does not count,
    nor does the list of packages that a base can be made of.
    """
    digest = hashlib.sha256()
    digest.update(repr((build.dockerfile, build.root, build.build_args, build.squash)).encode())
    what = kind(build.source)
    if what in ("git", "url"):
        digest.update(build.source.encode())
        return digest.hexdigest()
    path = place(build, paths)
    if not (path.is_dir() if what == "folder" else path.is_file()):
        return ""
    if what == "tarball":
        _feed(digest, path)
    else:
        for part in _walk(path):
            # Another image of the device names other packages. That alone is no reason to build anew.
            if part == path / "base.lock":
                continue
            _feed_entry(digest, path, part)
    return digest.hexdigest()


def _walk(folder: Path) -> Iterator[Path]:
    """All members of a folder in a fixed order, without following links."""
    with os.scandir(folder) as listed:
        entries = sorted(listed, key=lambda entry: os.fsencode(entry.name))
    for entry in entries:
        if entry.name == ".git":
            continue
        yield Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))


def _feed_entry(digest: hashlib._Hash, top: Path, path: Path) -> None:
    name = os.fsencode(path.relative_to(top))
    if path.is_symlink():
        digest.update(b"L%d:%s" % (len(name), name) + os.fsencode(path.readlink()) + b"\0")
    elif path.is_dir():
        digest.update(b"D%d:%s" % (len(name), name))
    elif path.is_file():
        status = path.stat()
        digest.update(b"F%d:%s%d %d:" % (len(name), name, status.st_mode & 0o111, status.st_size))
        _feed(digest, path)


def _feed(digest: hashlib._Hash, path: Path) -> None:
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)


@contextmanager
def fetched(build: Build, paths: Paths, log: run.Log) -> Iterator[Path]:
    """The source as a folder; what had to be fetched is gone again afterwards."""
    what = kind(build.source)
    if what == "folder":
        folder = place(build, paths)
        if not folder.is_dir():
            raise DeviceError(
                f"build source {build.source} is not there", "put the folder there, or set pull"
            )
        yield folder
        return
    import tempfile

    paths.work.mkdir(parents=True, exist_ok=True)
    # A power cut may have left one of these; nothing else writes here, and one apply runs at a time.
    for left in paths.work.iterdir():
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=paths.work) as folder_name:
        folder = Path(folder_name)
        if what == "git":
            _clone(build.source, folder, log)
        else:
            _unpack(build, place(build, paths), folder)
        yield folder


def _clone(source: str, folder: Path, log: run.Log) -> None:
    if shutil.which("git") is None:
        raise DeviceError(
            f"{source} needs git, which is not there", "copy it to a folder on persist as source"
        )
    address, _, reference = source.removeprefix("git+").partition("#")
    log(f"cloning {address}")
    steps = [["git", "init", "--quiet", str(folder)]]
    git = ["git", "-C", str(folder), "-c", "protocol.ext.allow=never"]
    steps.append([*git, "fetch", "--quiet", "--depth", "1", "--", address, reference or "HEAD"])
    steps.append([*git, "checkout", "--quiet", "FETCH_HEAD"])
    for step in steps:
        result = run.stream(step, log)
        if result.status:
            raise DeviceError(
                f"{address} cannot be cloned: {result.err.rpartition(chr(10))[2]}", "check the network"
            )


def _unpack(build: Build, path: Path, folder: Path) -> None:
    try:
        if build.source.endswith(".zip"):
            shutil.unpack_archive(path, folder, "zip")
        else:
            import tarfile

            with tarfile.open(path) as archive:
                archive.extractall(folder, filter="data")
    except FileNotFoundError:
        raise DeviceError(
            f"build source {build.source} is not there", "put the file there, or set pull"
        ) from None
    except Exception as error:
        raise DeviceError(f"{build.source} cannot be unpacked: {error}", "make it a .tar.gz") from None
