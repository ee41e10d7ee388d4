"""What was done, by whom and when."""

from __future__ import annotations

import json

from skiff_device.crew import names
from skiff_device.crew.command import Args, Context, Family

COMMANDS = Family("what was done, by whom and when")


@COMMANDS.command("events [-n COUNT] [--json]", "the last changes", access="read")
def events(context: Context, args: Args) -> int | None:
    """Newest last."""
    from skiff_device.crew import events as log

    as_json = args.flag("--json")
    count = names.number(args.option("-n") or "50", "-n", 1, 100_000)
    args.none_left()
    lines = log.read(context.paths)[-count:]
    if not as_json:
        for line in lines:
            context.say(line)
        return None
    rows = []
    for line in lines:
        when, _, rest = line.partition(" ")
        who, _, what = rest.partition(" ")
        rows.append({"time": when, "key": who, "event": what})
    context.say(json.dumps(rows, indent=1))
    return None
