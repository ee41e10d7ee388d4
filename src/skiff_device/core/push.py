"""A pushed environment: built, switched to, and answered to the hook that waits for it.

The hook (usr/lib/skiff/core/hooks/pre-receive) unpacked it as the user who pushes; here root builds it.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from skiff_device.common.errors import DeviceError
from skiff_device.core import images, reconcile
from skiff_device.core.paths import Paths

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


class Answer:
    """What the hook shows: a log that grows, and one line at the end. Both were made by the hook."""

    def __init__(self, paths: Paths, container: str, hook: int) -> None:
        self._path = paths.run / "push" / f"{container}.{hook}"
        # Made by a user: never followed anywhere else.
        self._log = os.open(f"{self._path}.log", os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)

    def log(self, line: str) -> None:
        """A line of progress."""
        os.write(self._log, line.encode(errors="replace") + b"\n")

    def end(self, line: str) -> None:
        """The last word: `ok …` or `fail …`."""
        os.close(self._log)
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_NOFOLLOW)
        except OSError:
            # Whoever pushed has gone.
            return
        os.write(file, line.encode(errors="replace") + b"\n")
        os.close(file)


def push(paths: Paths, container: str, commit: str, hook: int) -> int:
    """Build what was unpacked for the hook with that pid, and switch the container to it; returns a status.

    Whatever fails, the container stays as it was.
    """
    folder = paths.env / container
    incoming = folder / f"incoming.{hook}"
    if not _COMMIT.fullmatch(commit) or "/" in container or container.startswith("."):
        raise DeviceError("not a push", "git push core@DEVICE:env main")
    try:
        answer = Answer(paths, container, hook)
    except OSError:
        shutil.rmtree(incoming, ignore_errors=True)
        return 1
    try:
        _switch(paths, container, commit, hook, incoming, answer)
    except DeviceError as error:
        answer.end(f"fail {error.message}" + (f" ({error.hint})" if error.hint else ""))
        return 1
    except BaseException:
        answer.end("fail the work was interrupted: nothing was switched")
        raise
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
        _forget_lost(paths, container)
    answer.end(f"ok {container} runs {commit[:12]} now")
    return 0


def _switch(paths: Paths, container: str, commit: str, hook: int, incoming: Path, answer: Answer) -> None:
    loaded = reconcile.load(paths)
    if container not in loaded.config.containers:
        raise DeviceError(f"there is no container {container}", "skiff-core status")
    dockerfile = incoming / "Dockerfile"
    if dockerfile.is_symlink() or not dockerfile.is_file():
        raise DeviceError("Dockerfile is no plain file", "put one at the top of the repository")
    tree = paths.env / container / "trees" / commit
    before = _current(paths, container)
    if before != commit:
        shutil.rmtree(tree, ignore_errors=True)
        tree.parent.mkdir(mode=0o755, exist_ok=True)
        incoming.rename(tree)
        tree.chmod(0o755)
        os.chown(tree, 0, 0)
    try:
        images.build_env(container, tree, commit, answer.log, paths)
        if not paths.at(f"/proc/{hook}").exists():
            raise DeviceError("whoever pushed has gone: nothing was switched", "push again")
        point_at(paths, container, commit)
        outcome = reconcile.apply(paths, answer.log)
        failed = outcome.failures.get(container) or (outcome.error if not outcome.failures else None)
        if failed is not None:
            raise failed
    except BaseException as error:
        if _current(paths, container) != before:
            point_at(paths, container, before)
            # Not when it was interrupted: the service ends, and applies when it starts again.
            if isinstance(error, DeviceError):
                reconcile.apply(paths, answer.log)
        if before != commit:
            shutil.rmtree(tree, ignore_errors=True)
        raise
    for other in tree.parent.iterdir():
        # The one before stays, for its container is kept aside.
        if other.name not in (commit, before):
            shutil.rmtree(other, ignore_errors=True)


def _forget_lost(paths: Paths, container: str) -> None:
    """Remove what was unpacked for hooks that a power cut ended."""
    for left in (paths.env / container).glob("incoming.*"):
        if not paths.at(f"/proc/{left.suffix.removeprefix('.')}").exists():
            shutil.rmtree(left, ignore_errors=True)


def _current(paths: Paths, container: str) -> str:
    try:
        return (paths.env / container / "current").readlink().name
    except OSError:
        return ""


def forget_branches(paths: Paths, container: str) -> None:
    """Let the next push of a commit that git already has be one: its branch goes, and what it holds stays."""
    repository = paths.env / container / "repo.git"
    for name in ("packed-refs", "refs/heads/main", "refs/heads/master"):
        (repository / name).unlink(missing_ok=True)


def point_at(paths: Paths, container: str, commit: str) -> None:
    """Make `current` name another tree, or (empty) nothing: then the configuration's image counts."""
    current = paths.env / container / "current"
    if not commit:
        current.unlink(missing_ok=True)
        return
    fresh = current.with_name("current.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(f"trees/{commit}")
    fresh.replace(current)
    # Either the old or the new one after a power cut.
    folder = os.open(current.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
