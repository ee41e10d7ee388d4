"""`git push crew@device:APP main`: git receives; its hook deploys before the branch moves."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from skiff_device.common import run
from skiff_device.common.errors import DeviceError
from skiff_device.crew import names, repo, store
from skiff_device.crew.command import Caller, Forbidden
from skiff_device.crew.paths import Paths

Say = Callable[[str], None]
# Variable of the hook: number of an open file that leads to the client.
CLIENT = "CREW_CLIENT"
# Another one: not empty when there was no app as the push began.
_FIRST = "CREW_FIRST"
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_NOTHING = re.compile(r"0+")
# Files that crew reads itself, in bytes.
_SMALL = 256 << 10
_POINTER = b"version https://git-lfs.github.com/spec/"


class Entry(NamedTuple):
    """A file of a commit, as `git ls-tree` tells it; size in bytes."""

    mode: str
    hash: str
    size: int
    path: str


def app_of(text: str) -> str:
    """The app that git's command names, in any spelling: 'app', '/app', '~/app.git'. Raises DeviceError."""
    try:
        words = shlex.split(text)
    except ValueError:
        words = []
    if len(words) != 2:
        raise DeviceError("this is no push to an app", "git push crew@DEVICE:APP main")
    path = words[1].removeprefix("~").strip("/")
    return names.app(path.removesuffix(".git"))


def serve(paths: Paths, caller: Caller, text: str) -> int:
    """Become the git program that the client asked for."""
    app = app_of(text)
    push = text.startswith("git-receive-pack ")
    if not caller.may("deploy" if push else "read", app):
        raise Forbidden(caller, f"push to {app}")
    there = store.exists(paths, app)
    if not there and (not push or caller.role != "admin"):
        raise DeviceError(f"there is no app {app}", "an admin makes it: apps:create, or a first push")
    if not paths.persist_flag.exists():
        raise DeviceError("persist is not there to keep an app on", "skiff-status persist")
    section = store.section(paths, app, "app") if there else {}
    if push and section.get("locked"):
        raise DeviceError(f"{app} is locked", f"apps:unlock {app}")
    folder = repo.ensure(paths, app)
    env = repo.environment(paths)
    if push:
        # Kept by the git that this process becomes: the next push finds the branch where this one left it.
        turn = store.hold(paths, f"push-{app}", lambda: _say(f"waiting for another push to {app}"))
        os.set_inheritable(turn, True)
        repo.tidy(folder)
    else:
        run.replace(["git", "upload-pack", str(folder)], env=env)
    limit = repo.room(paths, app)
    client = os.dup(1)
    os.set_inheritable(client, True)
    run.replace(
        ["git", "-c", f"receive.maxInputSize={limit}", "receive-pack", str(folder)],
        env={
            **env,
            "CREW_APP": app,
            "CREW_KEY": caller.name,
            _FIRST: "" if there else "1",
            CLIENT: str(client),
        },
    )
    return 1


def _say(line: str) -> None:
    # That nobody reads it any more ends what is under way as long as it may (main.end_with_client).
    with suppress(BrokenPipeError):
        print(line, file=sys.stderr, flush=True)


def hook(paths: Paths) -> int:
    """Git's hook before a branch moves: deploys what was pushed."""
    from skiff_device.crew import events, keys

    app = names.app(os.environ.get("CREW_APP", ""))
    caller = keys.caller(paths, os.environ.get("CREW_KEY", ""))
    updates = [line.split() for line in sys.stdin.read().splitlines()]
    made = not store.exists(paths, app)
    try:
        # A push may take long to come.
        if made and not os.environ.get(_FIRST):
            raise DeviceError(f"there is no app {app} any more", "it was renamed or destroyed meanwhile")
        if not caller.may("deploy", app):
            raise Forbidden(caller, f"push to {app}")
        commit = wanted_commit(updates, repo.accepted(paths, app))
        if made:
            store.create(paths, app)
            _say(f"-----> new app {app}")
        deploy_commit(paths, app, commit, caller, _say)
    except DeviceError as error:
        events.log(paths, caller, f"{app}: push refused: {error.message}")
        _say(f" !     {error.message}")
        if error.hint:
            _say(f" !     {error.hint}")
        return 1
    return 0


def wanted_commit(updates: list[list[str]], branches: list[str]) -> str:
    """The commit to deploy among git's lines `OLD NEW REF`, of one of those branches. Raises DeviceError."""
    branch = branches[0]
    if len(updates) != 1 or len(updates[0]) != 3:
        raise DeviceError("one branch at a time", f"git push … {branch}")
    _, new, ref = updates[0]
    if ref not in [f"refs/heads/{one}" for one in branches]:
        name = names.shown(ref.removeprefix("refs/heads/"))
        raise DeviceError(f"{name} is not deployed, only {branch}", f"git push … {name}:{branch}")
    if _NOTHING.fullmatch(new) or not _COMMIT.fullmatch(new):
        raise DeviceError(f"{branch} cannot be removed", "apps:destroy removes an app")
    return new


def deploy_commit(
    paths: Paths, app: str, commit: str, caller: Caller, say: Say, reason: str = "push"
) -> None:
    """Build a commit of the app's repository and make it the release. Raises DeviceError."""
    if store.section(paths, app, "app").get("locked"):
        raise DeviceError(f"{app} is locked", f"apps:unlock {app}")
    entries = listing(commit)
    refuse_pointers(commit, entries)
    total = sum(entry.size for entry in entries)
    if total > shutil.disk_usage(paths.crew).free - repo.RESERVE:
        raise DeviceError(f"no room to unpack {total >> 20} MB on persist", "make room: cleanup")
    from skiff_device.crew import pipeline

    tar = paths.app(app) / f"incoming.{os.getpid()}"
    try:
        with tar.open("wb") as file:
            run.copy(["git", "archive", "--format=tar", commit], file)
        pipeline.build_and_deploy(paths, app, tar, f"{reason} {commit[:12]}", commit, caller, say)
    finally:
        tar.unlink(missing_ok=True)


def rebuild(paths: Paths, app: str, caller: Caller, say: Say) -> None:
    """Build and deploy what was pushed last. Raises DeviceError."""
    repo.use(paths, app)
    commit = repo.head(paths, app)
    if commit:
        deploy_commit(paths, app, commit, caller, say, "rebuild")
        return
    branch = repo.branch(paths, app)
    raise DeviceError(f"nothing was pushed to {app} yet", f"git push crew@DEVICE:{app} {branch}")


def listing(commit: str) -> list[Entry]:
    """Files of a commit. Raises DeviceError for one with submodules, which a push does not bring."""
    done = run.capture(["git", "ls-tree", "-r", "-z", "--long", commit])
    if done.status:
        raise DeviceError(f"what was pushed cannot be read: {done.err.strip()[-200:]}")
    entries = []
    modules = []
    for record in done.out.decode(errors="surrogateescape").split("\0"):
        head, _, path = record.partition("\t")
        fields = head.split()
        if len(fields) != 4:
            continue
        if fields[0] == "160000":
            modules.append(names.shown(path))
        else:
            entries.append(Entry(fields[0], fields[2], int(fields[3]), path))
    if modules:
        raise DeviceError(
            f"submodules do not come with a push: {', '.join(modules[:5])}",
            "commit their files (git subtree add), or build the image elsewhere: git:from-image",
        )
    return entries


def refuse_pointers(commit: str, entries: list[Entry]) -> None:
    """Raise DeviceError when files are Git LFS pointers: their content is not in the push."""
    attributes = [
        one for one in entries if one.path.rpartition("/")[2] == ".gitattributes" and one.size < _SMALL
    ]
    if not any(b"filter=lfs" in _blob(one.hash) for one in attributes):
        return
    # The specification of pointers allows less than 1024 bytes.
    small = (one for one in entries if one.size < 1024 and one.mode.startswith("100"))
    found = [names.shown(one.path) for one in small if _blob(one.hash).startswith(_POINTER)]
    if found:
        raise DeviceError(
            f"Git LFS files do not come with a push: {', '.join(found[:5])}",
            "commit their content (git lfs migrate export), or: git archive … | ssh … git:from-archive",
        )


def _blob(name: str) -> bytes:
    return run.capture(["git", "cat-file", "blob", name]).out
