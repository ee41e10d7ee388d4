"""Releases: what was deployed, and the way back."""

from __future__ import annotations

from skiff_device.crew import names
from skiff_device.crew.command import Args, Context, Family

COMMANDS = Family("what was deployed, and the way back")


@COMMANDS.command("releases [--json] APP", "list what was deployed and is kept", access="read")
def listing(context: Context, args: Args) -> int | None:
    """Oldest first; a star marks the one that serves."""
    import json

    from skiff_device.crew import release

    as_json = args.flag("--json")
    app = context.app(args)
    args.none_left()
    now = release.current_number(context.paths, app)
    kept = release.kept(context.paths, app)
    if as_json:
        rows = [
            {"number": one.number, "serves": one.number == now, "created": one.created,
             "reason": one.reason, "commit": one.commit, "image": one.image}
            for one in kept
        ]  # fmt: skip
        context.say(json.dumps(rows, indent=1))
        return None
    for one in kept:
        context.say(f"{'*' if one.number == now else ' '} {one.number:>4}  {one.created}  {one.reason}")
    if not kept:
        context.say(f"{app} was never deployed")
    return None


@COMMANDS.command(
    "rollback APP [NUMBER]", "go back to a kept release, by default the last other image", "deploy"
)
def rollback(context: Context, args: Args) -> int | None:
    """The image of then with the settings of now."""
    from skiff_device.crew import deploy, events

    app = context.app(args)
    word = args.take_or("")
    args.none_left()
    number = names.number(word.removeprefix("v"), "release", 1, 10**9) if word else 0
    made = deploy.rollback(context.paths, app, number, context.note)
    events.log(context.paths, context.caller, f"{app}: release {made.number}: {made.reason}")
    return None
