"""Whether the router publishes an app, and how."""

from __future__ import annotations

import re

from skiff_device.common.errors import DeviceError
from skiff_device.crew import names, routed
from skiff_device.crew.command import Args, Context, Family

COMMANDS = Family("whether the router publishes an app, and how")


def _apply(context: Context, app: str, edit: routed.Edit, text: str) -> None:
    routed.change(context, app, "proxy", edit, text)


@COMMANDS.command("proxy:enable APP", "publish its web process", access="deploy")
def enable(context: Context, args: Args) -> int | None:
    """As at the beginning."""
    app = context.app(args)
    args.none_left()
    _apply(context, app, lambda section: section.pop("disabled", None), "proxy:enable")
    return None


@COMMANDS.command("proxy:disable APP", "publish nothing of it", access="deploy")
def disable(context: Context, args: Args) -> int | None:
    """Other apps still reach it on the network crew."""
    app = context.app(args)
    args.none_left()
    _apply(context, app, lambda section: section.update(disabled=True), "proxy:disable")
    return None


@COMMANDS.command(
    "proxy:set APP NAME VALUE", "max-body (such as 100m), https-redirect (on or off)", access="deploy"
)
def set_(context: Context, args: Args) -> int | None:
    """Details."""
    app = context.app(args)
    name, value = args.take("the name"), args.take("the value")
    args.none_left()
    if name == "max-body" and re.fullmatch(r"[0-9]{1,6}[kmg]?", value):
        _apply(context, app, lambda section: section.update(max_body=value), f"proxy:set {name} {value}")
    elif name == "https-redirect" and value in ("on", "off"):
        _apply(
            context,
            app,
            lambda section: section.update(no_redirect=value == "off"),
            f"proxy:set {name} {value}",
        )
    else:
        raise DeviceError(f"{names.shown(name)} {names.shown(value)} cannot be set", f"usage: {args.usage}")
    return None


@COMMANDS.command("proxy:report [--json] APP", "how the router publishes an app", access="read")
def report(context: Context, args: Args) -> int | None:
    """What it makes of the settings."""
    routed.report(context, args, "proxy")
    return None
