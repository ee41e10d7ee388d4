"""Source trees from elsewhere, put into an app's repository: by git from another one, or from an archive."""

from __future__ import annotations

import http.client
import os
import re
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from skiff_device.common import run
from skiff_device.common.errors import DeviceError
from skiff_device.crew import names, repo, store
from skiff_device.crew.command import Caller
from skiff_device.crew.paths import Paths

Say = Callable[[str], None]
_FETCHED = "refs/crew/fetched"
# git's transports on the device. The helper for HTTP would bring libraries of 16 MB into the image.
_SCHEMES = ("git", "ssh", "file")
# `user@host:path`, as ssh has it.
_SCP = re.compile(r"[A-Za-z0-9_.-]{1,64}@[A-Za-z0-9_.-]{1,253}:[^\0\n]{1,500}")
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,199}")
# In seconds.
_LONGEST = 1800
_QUIET = 60.0
_REDIRECTS = 5
# Bytes between two looks at what is free: few enough for the fastest network.
_LOOK = 16 << 20


def fetch(paths: Paths, app: str, url: str, ref: str, caller: Caller) -> str:
    """Bring a branch, tag or commit of another repository into the app's; its commit. Raises DeviceError."""
    _check_url(url, caller)
    if not _REF.fullmatch(ref) or ".." in ref:
        raise DeviceError(f"{names.shown(ref)!r} is no reference", "a branch, a tag or a commit")
    limit = repo.room(paths, app)
    words = ["timeout", str(_LONGEST), "git", "-c", "protocol.version=0", "-c", "protocol.ext.allow=never"]
    words += ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", url, f"+{ref}:{_FETCHED}"]
    with _no_file_beyond(limit):
        done = run.capture(words, env=_ssh(paths))
    if done.status:
        said = " ".join(line for line in done.err.splitlines() if line.strip())[-300:]
        if "signal 25" in said or "File too large" in said:
            raise DeviceError(
                f"the repository is larger than {limit >> 20} MB", "builder:set APP max-push SIZE"
            )
        raise DeviceError(
            f"{names.shown(url)} cannot be fetched: {said}", "check address, reference and keys"
        )
    return repo.commit(_FETCHED)


def _check_url(url: str, caller: Caller) -> None:
    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme in ("http", "https"):
        raise DeviceError(
            f"git on the device does not speak {scheme}",
            "ssh://…, or on the workstation: git push; git archive … | ssh crew@DEVICE git:from-archive APP",
        )
    if url.startswith("-") or any(not c.isprintable() for c in url) or len(url) > 1000:
        raise DeviceError(f"{names.shown(url)!r} is no address of a repository", "ssh://USER@HOST/PATH")
    if scheme not in _SCHEMES and not (scheme == "" and _SCP.fullmatch(url)):
        raise DeviceError(f"{names.shown(url)!r} is no address of a repository", "ssh://USER@HOST/PATH")
    if scheme == "file" and caller.role != "admin":
        # Other apps' repositories are files too.
        raise DeviceError("file:// is for admins", "ssh://USER@HOST/PATH")


def _ssh(paths: Paths) -> dict[str, str]:
    """How git reaches other machines: dropbear's client with crew's own key, hosts trusted at first sight."""
    home = paths.crew / "ssh"
    words = "dbclient -y" + (f" -i {home / 'id'}" if (home / "id").exists() else "")
    return {"HOME": str(home), "GIT_SSH_COMMAND": words, "GIT_SSH_VARIANT": "ssh", "GIT_TERMINAL_PROMPT": "0"}


def make_key(paths: Paths) -> str:
    """The public key by which this device fetches, made when there is none. Raises DeviceError."""
    home = paths.crew / "ssh"
    key = home / "id"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not key.exists():
        # Under its name only when it is whole.
        fresh = home / "id.new"
        fresh.unlink(missing_ok=True)
        done = run.capture(["dropbearkey", "-t", "ed25519", "-f", str(fresh)])
        if done.status:
            raise DeviceError(f"the key cannot be made: {done.err.strip()[-200:]}", "is persist full?")
        fresh.replace(key)
        store.sync_folder(home)
    done = run.capture(["dropbearkey", "-y", "-f", str(key)])
    for line in done.out.decode(errors="replace").splitlines():
        if line.startswith("ssh-"):
            return line
    raise DeviceError("the key of this device cannot be read", f"remove {key}, and make another one")


@contextmanager
def _no_file_beyond(size: int) -> Iterator[None]:
    """Programs that are started meanwhile can write no file of more bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size if hard < 0 else min(size, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def from_archive(paths: Paths, app: str, stream: BinaryIO, source: str) -> str:
    """Make a commit in the app's repository of an archive that comes in a stream. Raises DeviceError."""
    from skiff_device.crew import archive

    limit = repo.room(paths, app)
    folder = paths.app(app) / "repo.git"
    spooled = paths.app(app) / f"incoming.{os.getpid()}.archive"
    try:
        archive.spool(stream, spooled, limit, "the archive")
        # What it takes unpacked is bounded anew: it lies beside.
        limit = repo.room(paths, app)
        return archive.make_commit(spooled, f"archive {source}\n", repo.head(paths, app), limit)
    finally:
        spooled.unlink(missing_ok=True)
        archive.tidy(folder)


@contextmanager
def download(url: str) -> Iterator[BinaryIO]:
    """What is behind an http:// address, as a stream. Raises DeviceError."""
    for _ in range(_REDIRECTS):
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or any(not c.isprintable() for c in url):
            raise DeviceError(
                f"{names.shown(url)} cannot be fetched: only http:// is here",
                "on the workstation: curl -L URL | ssh crew@DEVICE git:from-archive APP",
            )
        connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=_QUIET)
        try:
            connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
            answer = connection.getresponse()
            if answer.status in (301, 302, 303, 307, 308):
                url = answer.getheader("Location") or ""
                continue
            if answer.status != 200:
                raise DeviceError(
                    f"{names.shown(url)} answers with status {answer.status}", "check the address"
                )
            yield answer
            return
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise DeviceError(f"{names.shown(url)} cannot be fetched: {error}", "check the network") from None
        finally:
            connection.close()
    raise DeviceError("the address leads in a circle", "check it")


def pieces(stream: BinaryIO) -> Iterator[bytes]:
    """A stream, a bit at a time."""
    while data := stream.read(1 << 16):
        yield data


def room_for(data: Iterator[bytes], folder: Path) -> Iterator[bytes]:
    """Hand pieces of something large on, while persist has room for them. Raises DeviceError."""
    taken = _LOOK
    for piece in data:
        taken += len(piece)
        if taken >= _LOOK:
            taken = 0
            if shutil.disk_usage(folder).free < repo.RESERVE:
                raise DeviceError("persist is full", "make room: cleanup")
        yield piece
