"""What the commands domains:* and proxy:* share: settings of an app that the router goes by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skiff_device.crew import store
from skiff_device.crew.command import Args, Context

# What it returns is of no interest.
Edit = Callable[[dict[str, Any]], Any]


def change(context: Context, app: str, section: str, edit: Edit, text: str) -> None:
    """Edit a section of an app's settings, bring the router to it, and note it as an event."""
    from skiff_device.crew import events, router

    store.change(context.paths, app, section, edit)
    router.apply(context.paths, context.note)
    events.log(context.paths, context.caller, f"{app}: {text}")


def report(context: Context, args: Args, title: str) -> None:
    """What the router makes of an app's settings."""
    from skiff_device.crew import router

    as_json = args.flag("--json")
    app = context.app(args)
    args.none_left()
    context.report(router.settings(context.paths, app), as_json, f"{app} {title}")
