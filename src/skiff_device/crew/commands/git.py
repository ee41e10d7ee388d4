"""Where an app's source comes from, when it is not pushed, and which branch is deployed."""

from __future__ import annotations

import sys
from typing import Any

from skiff_device.common.errors import DeviceError
from skiff_device.crew import names, store
from skiff_device.crew.command import Args, Context, Family

COMMANDS = Family("source that is not pushed, and the branch that is deployed")


def _build(context: Context, app: str, commit: str, reason: str) -> None:
    """Deploy a commit, and then move the branch, as a push does."""
    from skiff_device.crew import receive, repo

    receive.deploy_commit(context.paths, app, commit, context.caller, context.note, reason)
    repo.move(context.paths, app, commit)


@COMMANDS.command("git:from-archive APP [URL]", "deploy the source tree in an archive", access="deploy")
def from_archive(context: Context, args: Args) -> int | None:
    """tar, tar.gz, tar.bz2, tar.xz or zip, from standard input or an http:// address."""
    from skiff_device.crew import repo, sync

    app = context.app(args)
    url = args.take_or("")
    args.none_left()
    with store.alone(context.paths, f"push-{app}"):
        repo.use(context.paths, app)
        if url:
            with sync.download(url) as stream:
                commit = sync.from_archive(context.paths, app, stream, names.shown(url))
        else:
            commit = sync.from_archive(context.paths, app, context.stdin, "of standard input")
        _build(context, app, commit, "archive")
    return None


@COMMANDS.command(
    "git:sync [--build|--build-if-changes] APP URL [REF]", "take another repository's source over", "deploy"
)
def sync(context: Context, args: Args) -> int | None:
    """By ssh://, git:// or (for admins) file://. Without --build ps:rebuild builds it."""
    from skiff_device.crew import events, repo
    from skiff_device.crew import sync as syncing

    changes = args.flag("--build-if-changes")
    build = args.flag("--build") or changes
    app = context.app(args)
    url, ref = args.take("the address"), args.take_or("HEAD")
    args.none_left()
    with store.alone(context.paths, f"push-{app}"):
        repo.use(context.paths, app)
        commit = syncing.fetch(context.paths, app, url, ref, context.caller)
        if commit == repo.head(context.paths, app) and (changes or not build):
            context.note("nothing changed")
        elif build:
            _build(context, app, commit, "sync")
        else:
            repo.move(context.paths, app, commit)
            context.note(f"{app} has {commit[:12]} now: ps:rebuild {app}")
    events.log(context.paths, context.caller, f"{app}: git:sync {commit[:12]}")
    return None


@COMMANDS.command("git:from-image APP IMAGE", "deploy an image as it is", access="deploy")
def from_image(context: Context, args: Args) -> int | None:
    """One of this device, else it is pulled."""
    from skiff_device.crew import pipeline
    from skiff_device.crew.engine import Engine

    app = context.app(args)
    reference = names.image(args.take("the image"))
    args.none_left()
    engine = Engine(context.paths)
    if engine.image(reference) is None:
        context.note(f"fetching {reference}")
        engine.pull(reference, context.note)
    pipeline.deploy_image(context.paths, app, reference, f"image {reference}", context.caller, context.note)
    return None


@COMMANDS.command("git:load-image APP IMAGE", "take images from stdin, and deploy one of them")
def load_image(context: Context, args: Args) -> int | None:
    """As `docker save` writes them. For admins: what is loaded has any name."""
    from skiff_device.crew import pipeline, sync
    from skiff_device.crew.engine import Engine

    app = context.app(args)
    reference = names.image(args.take("the image"))
    args.none_left()
    engine = Engine(context.paths)
    context.note(engine.load(sync.room_for(sync.pieces(context.stdin), context.paths.crew)))
    if engine.image(reference) is None:
        raise DeviceError(f"there is no image {reference} in what came", "name it as docker save did")
    pipeline.deploy_image(context.paths, app, reference, f"image {reference}", context.caller, context.note)
    return None


def _rows(context: Context, app: str) -> dict[str, Any]:
    from skiff_device.crew import release, repo

    repo.use(context.paths, app, make=False)
    now = release.current(context.paths, app)
    head = repo.head(context.paths, app)
    return {
        "deploy branch": repo.branch(context.paths, app),
        "commit": head,
        "serving commit": now.commit if now else "",
        "deployed": now is not None and now.commit == head != "",
    }


@COMMANDS.command("git:status APP", "whether what was pushed last is what serves", access="read")
def status(context: Context, args: Args) -> int | None:
    """In one line."""
    app = context.app(args)
    args.none_left()
    rows = _rows(context, app)
    if not rows["commit"]:
        context.say(f"{app}: nothing was pushed to {rows['deploy branch']}")
    else:
        serving = (
            "serves" if rows["deployed"] else f"is not what serves: {rows['serving commit'][:12] or '-'}"
        )
        context.say(f"{app}: {rows['deploy branch']} is at {rows['commit'][:12]}, which {serving}")
    return None


@COMMANDS.command("git:report [--json] APP", "branch and commits", access="read")
def report(context: Context, args: Args) -> int | None:
    """What the repository has, and what serves."""
    as_json = args.flag("--json")
    app = context.app(args)
    args.none_left()
    context.report(_rows(context, app), as_json, f"{app} git")
    return None


@COMMANDS.command("git:set APP deploy-branch NAME", "which branch of a push is deployed", access="deploy")
def set_(context: Context, args: Args) -> int | None:
    """main at first; master is taken for it until there is a main."""
    from skiff_device.crew import events, repo

    app = context.app(args)
    if args.take("deploy-branch") != "deploy-branch":
        raise DeviceError("only deploy-branch can be set", f"usage: {args.usage}")
    name = names.branch(args.take("the branch"))
    args.none_left()
    store.change(context.paths, app, "build", lambda section: section.update(branch=name))
    repo.use(context.paths, app)
    repo.point_head(name)
    events.log(context.paths, context.caller, f"{app}: git:set deploy-branch {name}")
    return None


@COMMANDS.command("git:public-key", "the key by which this device fetches; made when there is none")
def public_key(context: Context, args: Args) -> int | None:
    """To be allowed where git:sync fetches from by ssh."""
    from skiff_device.crew import sync

    args.none_left()
    print(sync.make_key(context.paths), file=sys.stdout)
    return None
