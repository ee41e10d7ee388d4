"""A device's settings on persist: fetched as an archive, put back, or all gone as after its first start."""

from __future__ import annotations

import io
import tarfile
import time
from pathlib import Path

from skiff.host.errors import UserError
from skiff.host.files import write_atomic
from skiff.host.run import DEVNULL, run
from skiff.machine.push import restart_only
from skiff.machine.remote import SSH_FAILED, Remote

# Settings are small; an overlay may not be.
_LIMIT = 600.0


def backup(remote: Remote, target: Path) -> int:
    """Write the device's settings to a file that only its owner may read; its bytes.

    Raises UserError when they cannot be had; the file is as it was then.
    """
    done = run(remote.argv(["skiff-settings", "backup"]), stdin=DEVNULL, timeout=_LIMIT, check=False)
    said = done.stderr.decode(errors="replace").strip()
    if done.returncode == SSH_FAILED:
        raise remote.not_reached(said)
    if done.returncode != 0:
        raise UserError(f"{remote.host}: {said or done.returncode}")
    _check(done.stdout, remote.host)
    # There are passwords and the device's private host key in it.
    write_atomic(target, done.stdout, mode=0o600)
    return len(done.stdout)


def restore(remote: Remote, source: Path) -> None:
    """Put the settings of a file in place of the device's. Raises UserError when it is no such file."""
    try:
        data = source.read_bytes()
    except OSError as error:
        raise UserError(f"{source}: cannot be read: {error.strerror}") from error
    _check(data, str(source))
    remote.run(["skiff-settings", "restore"], input=data, timeout=_LIMIT)


def reset(remote: Remote, patience: float = 300.0) -> None:
    """Everything of Skiff's on persist goes, data of engines and apps too. Restarts the device."""
    remote.run(["skiff-settings", "reset"])
    # It makes a new host key, and ssh refuses that where it knows the old one.
    restart_only(remote, time.monotonic() + patience, other_key="new")


def _check(data: bytes, name: str) -> None:
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            count = len(archive.getmembers())
    except tarfile.TarError as error:
        raise UserError(f"{name}: no archive of settings: {error}", hint="made by `skiff backup`") from error
    if not count:
        raise UserError(f"{name}: the archive is empty")
