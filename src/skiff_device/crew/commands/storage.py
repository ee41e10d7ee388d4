"""Storage: folders on persist that outlive the containers which write to them."""

from __future__ import annotations

import json

from skiff_device.common.errors import DeviceError
from skiff_device.crew import mounts, names, settings, store
from skiff_device.crew.command import Args, Context, Family

COMMANDS = Family("folders on persist that an app's containers see")


def _mounts(context: Context, app: str) -> list[str]:
    return [str(one) for one in store.section(context.paths, app, "storage").get("mounts", [])]


@COMMANDS.command(
    "storage:ensure-directory APP [NAME]", "make a folder for an app: APP, or APP.NAME", access="deploy"
)
def ensure_directory(context: Context, args: Args) -> int | None:
    """Says its path; one that is there stays as it is."""
    from skiff_device.crew import events

    app = context.app(args)
    name = args.take_or("")
    args.none_left()
    folder = mounts.folder_of(f"{app}.{name}" if name else app)
    context.say(str(mounts.ensure(context.paths, folder)))
    events.log(context.paths, context.caller, f"{app}: storage:ensure-directory {folder}")
    return None


@COMMANDS.command(
    "storage:mount [--no-restart] APP FOLDER:/CONTAINER/PATH[:ro]",
    "show a folder of storage to the containers",
    access="deploy",
)
def mount(context: Context, args: Args) -> int | None:
    """FOLDER is APP or APP.NAME, made when it is not there; an admin may name any path of the device."""
    restart = not args.flag("--no-restart")
    app = context.app(args)
    wanted = mounts.parse(context.paths, context.caller, app, args.take("the mount"))
    args.none_left()
    for other in _mounts(context, app):
        if other.split(":")[1] == wanted.inside and other != str(wanted):
            raise DeviceError(f"{wanted.inside} is taken by {other}", f"storage:unmount {app} {other}")
    if wanted.folder:
        mounts.ensure(context.paths, wanted.folder)

    def change(section: store.Section) -> None:
        section["mounts"] = list(dict.fromkeys([*section.get("mounts", []), str(wanted)]))

    settings.change(context, app, "storage", change, f"storage:mount {wanted}", restart)
    return None


@COMMANDS.command(
    "storage:unmount [--no-restart] APP FOLDER:/CONTAINER/PATH", "hide a folder again", access="deploy"
)
def unmount(context: Context, args: Args) -> int | None:
    """What is in it stays."""
    restart = not args.flag("--no-restart")
    app = context.app(args)
    word = args.take("the mount")
    args.none_left()
    spellings = {word, f"{context.paths.storage}/{word}"}
    gone = [one for one in _mounts(context, app) if {one, ":".join(one.split(":")[:2])} & spellings]
    if not gone:
        raise DeviceError(f"{app} has no mount {names.shown(word)}", f"storage:list {app}")

    def change(section: store.Section) -> None:
        section["mounts"] = [one for one in section.get("mounts", []) if one not in gone]
        if not section["mounts"]:
            del section["mounts"]

    settings.change(context, app, "storage", change, f"storage:unmount {gone[0]}", restart)
    return None


@COMMANDS.command("storage:list [--json] APP", "mounts of an app", access="read")
def listing(context: Context, args: Args) -> int | None:
    """HOST:CONTAINER[:OPTION]."""
    as_json = args.flag("--json")
    app = context.app(args)
    args.none_left()
    found = _mounts(context, app)
    if as_json:
        context.say(json.dumps(found, indent=1))
    else:
        for one in found:
            context.say(one)
    return None


@COMMANDS.command("storage:report [--json] APP", "mounts, and folders of the app's own", access="read")
def report(context: Context, args: Args) -> int | None:
    """Also those that are mounted nowhere."""
    as_json = args.flag("--json")
    app = context.app(args)
    args.none_left()
    there = context.paths.storage.iterdir() if context.paths.storage.is_dir() else ()
    rows = {
        "mounts": _mounts(context, app),
        "folders": sorted(path.name for path in there if path.name.partition(".")[0] == app),
    }
    context.report(rows, as_json, f"{app} storage")
    return None
