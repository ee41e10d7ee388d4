"""The reference page of crew's commands, from the code of the device."""

from __future__ import annotations

from skiff_device.crew import main
from skiff_device.crew.command import Command, Family


def families() -> list[Family]:
    """All families of commands, in the order of `help`."""
    found = [main.family(name.replace("_", "-")) for name in main.FAMILIES]
    return [family for family in found if family is not None]


def who(command: Command) -> str:
    """Which keys may use a command, besides those of admins."""
    match command.access:
        case "admin":
            return "admins"
        case "anyone":
            return "all keys"
    own = "deploy keys of the app" if main.takes_app(command) else ""
    return ", ".join(filter(None, ("read keys" if command.access == "read" else "", own)))


def page() -> str:
    """What stands below the head of docs/reference/crew-commands.md."""
    parts = []
    for family in families():
        rows = ["| command | who may | what it does |", "| --- | --- | --- |"]
        for command in family.commands:
            usage, text = (part.replace("|", "\\|") for part in (command.usage, command.text))
            rows.append(f"| `{usage}` | {who(command)} | {text} |")
        parts += [f"## {family.about[0].upper()}{family.about[1:]}", "\n".join(rows)]
    return "\n\n".join(parts)
