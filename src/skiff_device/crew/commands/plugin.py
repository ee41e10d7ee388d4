"""Plug-ins: folders of executables that are called around builds and deploys."""

from __future__ import annotations

import json
from typing import Any

from skiff_device.common.errors import DeviceError
from skiff_device.crew import names
from skiff_device.crew.command import Args, Context, Family

COMMANDS = Family("programs that are called around builds and deploys")


def _log(context: Context, text: str) -> None:
    from skiff_device.crew import events

    events.log(context.paths, context.caller, text)


@COMMANDS.command("plugin:list [--json]", "all plug-ins, and the triggers they have")
def listing(context: Context, args: Args) -> int | None:
    """In the order in which they are called."""
    from skiff_device.crew import plugins

    as_json = args.flag("--json")
    args.none_left()
    found: list[dict[str, Any]] = [
        {"name": one.name, "enabled": one.enabled, "triggers": list(one.triggers)}
        for one in plugins.listing(context.paths)
    ]
    if as_json:
        context.say(json.dumps(found, indent=1))
        return None
    for row in found:
        state = "enabled" if row["enabled"] else "disabled"
        context.say(f"{row['name']}  {state}  {' '.join(row['triggers'])}".rstrip())
    return None


@COMMANDS.command("plugin:install NAME", "take a plug-in from stdin: a tar of its executables")
def install(context: Context, args: Args) -> int | None:
    """Plain files, each named as the trigger by which it is called; others are for these to use."""
    from skiff_device.crew import plugins

    name = names.plugin(args.take("the name"))
    args.none_left()
    made = plugins.install(context.paths, name, context.stdin)
    _log(context, f"plug-in {name} installed")
    context.say(f"{name}: {' '.join(made.triggers)}")
    return None


@COMMANDS.command("plugin:uninstall NAME", "remove a plug-in")
def uninstall(context: Context, args: Args) -> int | None:
    """With all its files."""
    from skiff_device.crew import plugins

    name = names.plugin(args.take("the name"))
    args.none_left()
    plugins.uninstall(context.paths, name)
    _log(context, f"plug-in {name} uninstalled")
    return None


def _enable(context: Context, args: Args, enabled: bool) -> int | None:
    from skiff_device.crew import plugins

    name = names.plugin(args.take("the name"))
    args.none_left()
    plugins.enable(context.paths, name, enabled)
    _log(context, f"plug-in {name} {'enabled' if enabled else 'disabled'}")
    return None


@COMMANDS.command("plugin:enable NAME", "call a plug-in again")
def enable(context: Context, args: Args) -> int | None:
    """As after its installation."""
    return _enable(context, args, True)


@COMMANDS.command("plugin:disable NAME", "call a plug-in no more")
def disable(context: Context, args: Args) -> int | None:
    """Its files stay."""
    return _enable(context, args, False)


@COMMANDS.command("plugin:trigger TRIGGER APP [WORD…]", "call a trigger of all plug-ins by hand")
def trigger(context: Context, args: Args) -> int | None:
    """To try one out."""
    from skiff_device.crew import hooks

    name = args.take("the trigger")
    if name not in hooks.TRIGGERS:
        raise DeviceError(f"{names.shown(name)} is no trigger", " ".join(hooks.TRIGGERS))
    app = context.app(args)
    hooks.trigger(context.paths, name, app, args.rest(), context.say)
    return None
