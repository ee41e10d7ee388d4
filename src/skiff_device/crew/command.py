"""What a command of crew is: its name, who may use it, and what it works with."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO, NamedTuple

from skiff_device.common.errors import DeviceError
from skiff_device.crew import names, store
from skiff_device.crew.paths import Paths

# What a key may do: `deploy` may push to and look after the apps named with it, `read` may look at all.
ROLES = ("admin", "deploy", "read")


class Caller(NamedTuple):
    """Who asks: the name of the key, its role, and (for deploy) the apps it is for."""

    name: str
    role: str = "admin"
    apps: tuple[str, ...] = ()

    def may(self, access: str, app: str | None) -> bool:
        """Whether this caller may use a command of that access (anyone, read, deploy, admin) on an app."""
        if self.role == "admin" or access == "anyone":
            return True
        if self.role == "deploy":
            return access in ("deploy", "read") and app is not None and app in self.apps
        return access == "read"


class Context:
    """What every command gets. command is the one that is run: its access counts for the app it takes."""

    # No dataclass here or elsewhere in crew: that module alone takes half the time that a command starts in.
    def __init__(self, paths: Paths, caller: Caller, command: Command, stdin: BinaryIO | None = None) -> None:
        self.paths = paths
        self.caller = caller
        self.command = command
        self.stdin = stdin or sys.stdin.buffer

    def app(self, args: Args) -> str:
        """The next word as an app that is there and that the caller may do this to. Raises DeviceError."""
        app = names.app(args.take("the app"))
        # First, so that nobody learns which apps there are.
        if not self.caller.may(self.command.access, app):
            raise refused(self.caller, self.command, app)
        return store.must_exist(self.paths, app)

    def say(self, line: str) -> None:
        """A line of the answer."""
        self.raw(f"{line}\n".encode(errors="surrogateescape"))

    def note(self, line: str) -> None:
        """Progress, warnings: a line on standard error, where nobody may be there to read it."""
        with suppress(BrokenPipeError):
            print(line, file=sys.stderr, flush=True)

    def raw(self, data: bytes) -> None:
        """Bytes of the answer."""
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def report(self, rows: dict[str, Any], as_json: bool, title: str = "") -> None:
        """A report: `name: value` lines under a title, or JSON."""
        if as_json:
            self.say(store.as_json(rows, sort=False).rstrip())
            return
        if title:
            self.say(f"=====> {title}")
        width = max((len(name) for name in rows), default=0) + 2
        for name, value in rows.items():
            text = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            self.say(f"  {name + ':':<{width}} {text}".rstrip())


class Args:
    """Words of a command, taken one by one: flags first, then words by position."""

    def __init__(self, words: list[str], usage: str) -> None:
        self._words = list(words)
        self.usage = usage

    def _wrong(self, message: str) -> DeviceError:
        return DeviceError(message, f"usage: {self.usage}")

    def flag(self, *spellings: str) -> bool:
        """Whether a flag is among the words before `--`; takes it."""
        found = False
        while (place := self._place(spellings)) is not None:
            del self._words[place]
            found = True
        return found

    def option(self, *spellings: str) -> str | None:
        """Value of `--name VALUE` or `--name=VALUE`, the last of them. Raises DeviceError without one."""
        found = self.options(*spellings)
        return found[-1] if found else None

    def options(self, *spellings: str) -> list[str]:
        """Values of an option that may come again, in order. Raises DeviceError without one."""
        found = []
        place = 0
        while place < len(before := self._before()):
            name, equals, value = before[place].partition("=")
            if name not in spellings:
                place += 1
                continue
            if not equals:
                if place + 1 >= len(self._words):
                    raise self._wrong(f"{spellings[0]} needs a value")
                value = self._words.pop(place + 1)
            del self._words[place]
            found.append(value)
        return found

    def options_first(self, *with_value: str) -> None:
        """Options end at the first word that is none: what follows is another program's.

        with_value are those that take the next word along.
        """
        place = 0
        while place < len(self._words) and self._words[place].startswith("-") and self._words[place] != "--":
            place += 2 if self._words[place] in with_value else 1
        if self._words[place : place + 1] != ["--"]:
            self._words.insert(place, "--")

    def take(self, what: str) -> str:
        """The next word. Raises DeviceError when there is none, or it looks like a flag nobody knows."""
        word = self.take_or("")
        if not word:
            raise self._wrong(f"{what} is missing")
        return word

    def take_or(self, default: str) -> str:
        """The next word, or another."""
        self._no_flags()
        if self._words[:1] == ["--"]:
            del self._words[0]
        return self._words.pop(0) if self._words else default

    def rest(self) -> list[str]:
        """All other words, as they are; a `--` in front of them is dropped."""
        words, self._words = self._words, []
        return words[1:] if words[:1] == ["--"] else words

    def none_left(self) -> None:
        """Raise DeviceError when words are left that mean nothing."""
        self._no_flags()
        if self._words:
            raise self._wrong(f"{names.shown(self._words[0])!r} is one word too many")

    def _before(self) -> list[str]:
        end = self._words.index("--") if "--" in self._words else len(self._words)
        return self._words[:end]

    def _place(self, spellings: tuple[str, ...]) -> int | None:
        return next((place for place, word in enumerate(self._before()) if word in spellings), None)

    def _no_flags(self) -> None:
        if self._words and self._words[0].startswith("-") and self._words[0] not in ("-", "--"):
            raise self._wrong(f"unknown option {names.shown(self._words[0])!r}")


class Command(NamedTuple):
    """One command. usage is its line of help; where that has the word APP, run takes it by context.app."""

    name: str
    usage: str
    text: str
    run: Callable[[Context, Args], int | None]
    # Which callers: admin, deploy (keys for that app), read, or anyone.
    access: str = "admin"


Run = Callable[[Context, Args], int | None]


class Family:
    """The commands of one module: `commands/NAME.py` has one, called COMMANDS."""

    def __init__(self, about: str) -> None:
        self.about = about
        self.commands: list[Command] = []

    def command(self, usage: str, text: str, access: str = "admin") -> Callable[[Run], Run]:
        """Decorator: the function gets (context, args) and returns an exit status, or nothing for 0.

        usage begins with the command's name: `config:get APP NAME`. The function takes its flags first
        (args.flag, args.option), then context.app(args), then other words, and ends with args.none_left().
        """

        def add(run: Run) -> Run:
            self.commands.append(Command(usage.split()[0], usage, text, run, access))
            return run

        return add

    def aliases(self, name: str, other: str) -> None:
        """Another name of a command of this family."""
        found = next(one for one in self.commands if one.name == other)
        self.commands.append(found._replace(name=name, usage=found.usage.replace(other, name, 1)))


class Forbidden(DeviceError):
    """What the key may not do; the event tells it."""

    def __init__(self, caller: Caller, what: str) -> None:
        super().__init__(f"key {caller.name} ({caller.role}) may not {what}", "ask an admin")


def refused(caller: Caller, command: Command, app: str = "") -> Forbidden:
    """The error for a caller who may not do that."""
    return Forbidden(caller, f"use {command.name} on {app}" if app else f"use {command.name}")
