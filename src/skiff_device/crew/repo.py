"""The git repository of an app: made, looked at, and its deploy branch moved on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from skiff_device.common import run
from skiff_device.common.errors import DeviceError
from skiff_device.common.files import write_atomically
from skiff_device.crew import store
from skiff_device.crew.paths import Paths

_GITCONFIG = "/usr/lib/skiff/crew/gitconfig"
MAIN = "main"
# In bytes; builder:set changes the first. What must stay free on persist for the system's own needs.
MAX_PUSH = 512 << 20
RESERVE = 128 << 20


def environment(paths: Paths) -> dict[str, str]:
    """Variables for git: no settings but crew's own count."""
    for name in [name for name in os.environ if name.startswith("GIT_") and name != "GIT_PROTOCOL"]:
        del os.environ[name]
    config = str(paths.root / _GITCONFIG.lstrip("/"))
    return {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": config}


def ensure(paths: Paths, app: str) -> Path:
    """The repository of an app (of a checked name), made when it is not there. Raises DeviceError."""
    folder = paths.app(app) / "repo.git"
    # Git does not wait for the disk when it makes one: a power cut right after leaves empty files.
    if not all((folder / name).is_file() and (folder / name).stat().st_size for name in ("HEAD", "config")):
        (folder / "HEAD").unlink(missing_ok=True)
        (folder / "config").unlink(missing_ok=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        words = ["git", "init", "--quiet", "--bare", "--template=", f"--initial-branch={MAIN}", str(folder)]
        done = run.capture(words, env=environment(paths))
        if done.status:
            raise DeviceError(f"the repository cannot be made: {done.err.strip()[-200:]}", "is persist full?")
        store.sync_disk(paths)
    # What is pushed is built whole and as it is, whatever it says of archives.
    write_atomically(folder / "info/attributes", "* !export-ignore !export-subst\n")
    return folder


def tidy(folder: Path) -> None:
    """Put away what a killed git left. Call it under the lock of pushes: no other is at work then."""
    for lock in [*folder.glob("*.lock"), *(folder / "refs").rglob("*.lock")]:
        lock.unlink(missing_ok=True)
    # What was received and never accepted (git-receive-pack(1), quarantine).
    for received in (folder / "objects").glob("*incoming-*"):
        shutil.rmtree(received, ignore_errors=True)


def use(paths: Paths, app: str, make: bool = True) -> Path:
    """From now on git works on the repository of this app, which is made when it is not there."""
    folder = ensure(paths, app) if make else paths.app(app) / "repo.git"
    os.environ.update({**environment(paths), "GIT_DIR": str(folder)})
    return folder


def branch(paths: Paths, app: str) -> str:
    """The branch that is deployed."""
    return str(store.section(paths, app, "build").get("branch", MAIN))


def commit(reference: str) -> str:
    """The commit that a full reference stands for; empty when there is none."""
    words = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{reference}^{{commit}}"]
    done = run.capture(words)
    return done.out.decode().strip() if done.status == 0 else ""


def accepted(paths: Paths, app: str) -> list[str]:
    """Branches whose pushes are deployed, the deploy branch first. git is at work on the app's repository."""
    name = branch(paths, app)
    # Older git calls its first branch so. Beside a `main` nobody could tell which of both was pushed last.
    return [MAIN, "master"] if name == MAIN and not commit(f"refs/heads/{MAIN}") else [name]


def head(paths: Paths, app: str) -> str:
    """What the deploy branch stands at; empty when nothing was pushed. `use` comes before."""
    return next(filter(None, (commit(f"refs/heads/{one}") for one in accepted(paths, app))), "")


def move(paths: Paths, app: str, wanted: str) -> None:
    """Set the deploy branch to a commit. Raises DeviceError."""
    reference = f"refs/heads/{branch(paths, app)}"
    done = run.capture(["git", "update-ref", "-m", "crew", reference, wanted])
    if done.status:
        raise DeviceError(f"the branch cannot be moved: {done.err.strip()[-200:]}", "git:set deploy-branch")


def point_head(name: str) -> None:
    """What a clone checks out. Raises DeviceError."""
    done = run.capture(["git", "symbolic-ref", "HEAD", f"refs/heads/{name}"])
    if done.status:
        raise DeviceError(f"HEAD cannot be set: {done.err.strip()[-200:]}", "is persist full?")


def room(paths: Paths, app: str) -> int:
    """How many bytes a push to an app may have. Raises DeviceError when there is no room at all."""
    wanted = MAX_PUSH
    if store.exists(paths, app):
        wanted = int(store.section(paths, app, "build").get("max_push", MAX_PUSH))
    free = shutil.disk_usage(paths.crew).free - RESERVE
    if free < 1 << 20:
        raise DeviceError("persist is full", "make room: cleanup, releases, docker system df")
    return min(wanted, free)
