"""Room on persist: what goes by itself, what goes when asked, and how much became free."""

from __future__ import annotations

import json
from typing import Any

from skiff_device.common.errors import DeviceError
from skiff_device.crew import names, store
from skiff_device.crew.command import Args, Context, Family

COMMANDS = Family("room on persist, and what is kept")
_MEGABYTE = 1 << 20


@COMMANDS.command("cleanup [--json] [APP]", "remove images, containers and build cache that nothing needs")
def cleanup(context: Context, args: Args) -> int | None:
    """Of one app, else of all. Releases that are kept, and what serves, stay."""
    from skiff_device.crew import cleanup as cleaning
    from skiff_device.crew import events
    from skiff_device.crew.engine import Engine

    as_json = args.flag("--json")
    word = args.take_or("")
    args.none_left()
    engine = Engine(context.paths)
    before = cleaning.room(context.paths)["free"]
    if word:
        freed = cleaning.app(context.paths, engine, store.must_exist(context.paths, word))
    else:
        freed = cleaning.everything(context.paths, engine)
    room = cleaning.room(context.paths)
    # As the disk tells it: images share layers, and what the engine says of each of them does not add up.
    became = max(0, room["free"] - before)
    events.log(context.paths, context.caller, f"{word or 'all apps'}: cleanup, {became >> 20} MB")
    rows = {**freed._asdict(), "freed": became, **room}
    if as_json:
        context.say(json.dumps(rows))
        return None
    context.say(
        f"{became // _MEGABYTE} MB became free: {freed.images} images, {freed.containers} containers, "
        f"{freed.cache // _MEGABYTE} MB of build cache"
    )
    context.say(f"{room['free'] // _MEGABYTE} of {room['total'] // _MEGABYTE} MB are free")
    return None


@COMMANDS.command(
    "cleanup:set APP|--global NAME [VALUE]", "keep-releases (number), build-cache (MB, --global)"
)
def set_(context: Context, args: Args) -> int | None:
    """What stays after a deploy. Without VALUE as at the beginning."""
    from skiff_device.crew import events

    app = None if args.flag("--global") else context.app(args)
    name, value = args.take("the name"), args.take_or("")
    args.none_left()
    if name == "keep-releases":
        key, found = "keep_releases", names.number(value, name, 1, 100) if value else None
    elif name == "build-cache" and app is None:
        key, found = "build_cache", names.number(value, name, 0, 1 << 20) << 20 if value else None
    else:
        raise DeviceError(f"{names.shown(name)} cannot be set there", f"usage: {args.usage}")

    def change(section: dict[str, Any]) -> None:
        section.pop(key, None)
        if found is not None:
            section[key] = found

    store.change(context.paths, app, "cleanup", change)
    events.log(context.paths, context.caller, f"{app or 'all apps'}: cleanup:set {name} {value}".rstrip())
    return None


@COMMANDS.command("cleanup:report [--json] APP", "what is kept, and how much is free", access="read")
def report(context: Context, args: Args) -> int | None:
    """Sizes in MB."""
    from skiff_device.crew import cleanup as cleaning
    from skiff_device.crew import release

    as_json = args.flag("--json")
    app = context.app(args)
    args.none_left()
    room = cleaning.room(context.paths)
    rows = {
        "keep releases": cleaning.keep(context.paths, app),
        "releases": len(release.numbers(context.paths, app)),
        "build cache": cleaning.cache_limit(context.paths) // _MEGABYTE,
        "free": room["free"] // _MEGABYTE,
        "total": room["total"] // _MEGABYTE,
    }
    context.report(rows, as_json, f"{app} cleanup")
    return None
