"""Names by which the router knows an app."""

from __future__ import annotations

from typing import Any

from skiff_device.common.errors import DeviceError
from skiff_device.crew import names, routed, store
from skiff_device.crew.command import Args, Context, Family

COMMANDS = Family("names by which a web app is reached")


def _apply(context: Context, app: str, edit: routed.Edit, text: str) -> None:
    routed.change(context, app, "domains", edit, text)


def _words(args: Args) -> list[str]:
    words = [names.domain(word) for word in args.rest()]
    if not words:
        raise DeviceError("the domain is missing", f"usage: {args.usage}")
    return list(dict.fromkeys(words))


def _free(context: Context, app: str, wanted: list[str]) -> None:
    """See that these names reach no other app. Raises DeviceError, which tells admins alone whom."""
    from skiff_device.crew import router

    is_admin = context.caller.role == "admin"
    device = router.below_device()
    for name in wanted:
        if not is_admin and name.endswith(device) and name != f"{app}{device}":
            # It would have what is meant for an app of that name, one that comes later, too.
            raise DeviceError(f"{name} is for the app of that name", "choose another one")
        for other, section in store.sections(context.paths, "domains").items():
            names_of_other = section.get("names", []) or [f"{other}{device}"]
            if other == app or not any(_reaches(name, one, strictly=is_admin) for one in names_of_other):
                continue
            if is_admin:
                raise DeviceError(f"{name} leads to {other} already", f"domains:remove {other} {name}")
            raise DeviceError(f"{name} leads to another app already", "choose another one")


def _reaches(name: str, other: str, strictly: bool) -> bool:
    """Whether a name is another app's: the same one, or, unless strictly, one under a wildcard of it."""
    return name == other or (not strictly and other.startswith("*.") and name.endswith(other[1:]))


def _take(context: Context, app: str, wanted: list[str], edit: routed.Edit, text: str) -> None:
    # Two apps may want one name at once.
    with store.alone(context.paths, "domains"):
        _free(context, app, wanted)
        _apply(context, app, edit, f"{text} {' '.join(wanted)}")


@COMMANDS.command("domains:add APP DOMAIN…", "one more name", access="deploy")
def add(context: Context, args: Args) -> int | None:
    """Wildcards such as *.example.org too."""
    app = context.app(args)
    wanted = _words(args)

    def change(section: dict[str, Any]) -> None:
        section["names"] = list(dict.fromkeys([*section.get("names", []), *wanted]))

    _take(context, app, wanted, change, "domains:add")
    return None


@COMMANDS.command("domains:set APP DOMAIN…", "these names and no other", access="deploy")
def set_(context: Context, args: Args) -> int | None:
    """Instead of those that were set."""
    app = context.app(args)
    wanted = _words(args)
    _take(context, app, wanted, lambda section: section.update(names=wanted), "domains:set")
    return None


@COMMANDS.command("domains:remove APP DOMAIN…", "take names away", access="deploy")
def remove(context: Context, args: Args) -> int | None:
    """Those that are not there are no error."""
    app = context.app(args)
    gone = _words(args)

    def change(section: dict[str, Any]) -> None:
        section["names"] = [name for name in section.get("names", []) if name not in gone]
        if not section["names"]:
            del section["names"]

    _apply(context, app, change, f"domains:remove {' '.join(gone)}")
    return None


@COMMANDS.command("domains:clear APP", "only the name below the device's own", access="deploy")
def clear(context: Context, args: Args) -> int | None:
    """APP.HOSTNAME.local."""
    app = context.app(args)
    args.none_left()
    _apply(context, app, lambda section: section.clear(), "domains:clear")
    return None


@COMMANDS.command("domains:disable APP", "any name leads to this app", access="deploy")
def disable(context: Context, args: Args) -> int | None:
    """Where no other app has that name."""
    app = context.app(args)
    args.none_left()
    _apply(context, app, lambda section: section.update(disabled=True), "domains:disable")
    return None


@COMMANDS.command("domains:enable APP", "only its names lead to this app", access="deploy")
def enable(context: Context, args: Args) -> int | None:
    """The opposite of domains:disable."""
    app = context.app(args)
    args.none_left()
    _apply(context, app, lambda section: section.pop("disabled", None), "domains:enable")
    return None


@COMMANDS.command("domains:report [--json] APP", "names and addresses", access="read")
def report(context: Context, args: Args) -> int | None:
    """What the router makes of the settings."""
    routed.report(context, args, "domains")
    return None
