"""Commands of crew on a device: which word is the device, and the ssh command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from skiff.host.errors import UserError

USER = "crew"
# Commands of crew without a colon. A device that is called so is given as crew@NAME.
PLAIN = ("cleanup", "enter", "events", "help", "logs", "releases", "rollback", "run", "version")
_COMMAND = re.compile(r"[a-z][a-z-]*:[a-z][a-z-]*")
# What these start is worked with at a terminal.
_AT_A_TERMINAL = ("enter", "run")


def split(words: Sequence[str]) -> tuple[str, list[str]]:
    """The device (empty: the workspace's machine) and the words of the command."""
    if words and words[0] not in PLAIN and not _COMMAND.fullmatch(words[0]) and words[0] != "--help":
        return words[0], list(words[1:])
    return "", list(words)


def wants_tty(words: Sequence[str]) -> bool:
    """Whether a command is one to work with at a terminal."""
    return bool(words) and words[0] in _AT_A_TERMINAL


def root_of(host: str) -> str | None:
    """The same device for root; None when crew itself is not who logs in there."""
    _, scheme, place = host.rpartition("ssh://")
    user, _, name = place.rpartition("@")
    return f"{scheme}root@{name}" if user in ("", USER) else None


def argv(host: str, words: Sequence[str], *, tty: bool) -> list[str]:
    """The ssh command line for a device by its name, as the user's own ssh settings know it.

    ``host`` is a name, user@name or ssh://user@name:port. Raises UserError for what is none.
    """
    if host.startswith("-") or not host.isprintable() or " " in host:
        raise UserError(f"{host!r} is no device", hint="skiff crew HOST COMMAND…")
    settings = ["RemoteCommand=none", "ForwardX11=no", "ForwardAgent=no", "LogLevel=ERROR"]
    return [
        *("ssh", "-t" if tty else "-T"),
        *(word for setting in settings for word in ("-o", setting)),
        *(() if "@" in host else ("-l", USER)),
        host,
        # The device gets one string; taken apart there, it gives back the very same words.
        *(("--", shlex.join(words)) if words else ("--", "help")),
    ]
