"""What there is."""

from __future__ import annotations

from skiff_device.crew.command import Args, Context, Family

COMMANDS = Family("what there is")


@COMMANDS.command("help [COMMAND]", "this list, or the commands of one family", access="anyone")
def help_(context: Context, args: Args) -> int | None:
    """All commands, with one line each."""
    from skiff_device.crew import main

    word = args.take_or("")
    args.none_left()
    families = (
        [main.family(word)] if word else [main.family(name.replace("_", "-")) for name in main.FAMILIES]
    )
    for found in families:
        if found is None:
            main.find(word)
            continue
        for command in found.commands:
            context.say(f"{command.usage}\n    {command.text}")
    return None


@COMMANDS.command("version", "version of this system", access="anyone")
def version(context: Context, args: Args) -> int | None:
    """As skiff-status tells it."""
    args.none_left()
    text = (context.paths.root / "etc/os-release").read_text()
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    context.say(f"crew of Skiff {found.get('VERSION_ID', '').strip(chr(34))}".rstrip())
    return None
