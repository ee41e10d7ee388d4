"""Backups: apps in one file, for another device or for later."""

from __future__ import annotations

import sys

from skiff_device.common.errors import DeviceError
from skiff_device.crew import store
from skiff_device.crew.command import Args, Context, Family

COMMANDS = Family("backups: apps in one file")


@COMMANDS.command("backup:export [--keys] [APP…]", "write a backup to stdout: … >file")
def export(context: Context, args: Args) -> int | None:
    """Of all apps when none is named, with what is set for all of them. --keys adds crew's keys."""
    from skiff_device.crew import backup, events

    with_keys = args.flag("--keys")
    apps = [store.must_exist(context.paths, word) for word in args.rest()]
    if sys.stdout.isatty():
        raise DeviceError("a backup is no text for a terminal", "ssh crew@DEVICE backup:export >file")
    backup.export(context.paths, list(dict.fromkeys(apps)), with_keys, sys.stdout.buffer, context.note)
    sys.stdout.buffer.flush()
    events.log(context.paths, context.caller, f"backup:export {' '.join(apps) or 'of all apps'}")
    return None


@COMMANDS.command("backup:import [--keys] [--global]", "take a backup from stdin: … <file")
def import_(context: Context, args: Args) -> int | None:
    """Its apps must not be there yet. --keys takes its keys too, --global what was set for all apps."""
    from skiff_device.crew import backup_import, events

    with_keys, with_global = args.flag("--keys"), args.flag("--global")
    args.none_left()
    apps, failed = backup_import.take(context.paths, context.stdin, with_keys, with_global, context.note)
    events.log(context.paths, context.caller, f"backup:import {' '.join(apps)}")
    context.say(f"{len(apps)} apps are back: {' '.join(apps)}")
    return 1 if failed else None
