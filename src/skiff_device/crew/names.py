"""Names that come from outside, checked once: what passes may be used in paths and as words of commands."""

from __future__ import annotations

import re

from skiff_device.common.errors import DeviceError

# Dokku's rule for apps; a container's and an image's name are made of it. Lengths in characters.
_APP = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_PROCESS = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,30}[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
# RFC 1123 labels; `*.` in front is a wildcard.
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?=.{{1,253}}\Z)(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,99}")
# The kernel takes 15 characters (IFNAMSIZ); of them those that a shell and a file name may hold.
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")
# What Swarm takes as the name of a secret; where files are in a container.
_FILE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,30}[A-Za-z0-9])?")
_PLACE = re.compile(r"(?=.{1,255}\Z)(?:/\.?[A-Za-z0-9_@-][A-Za-z0-9_.@-]*)+")

# What the engine takes as a reference to an image, and no option.
_IMAGE = re.compile(r"[a-z0-9][A-Za-z0-9._/:@-]{0,254}")


def shown(text: str, most: int = 60) -> str:
    """A word from outside as it may be printed: short, on one line, without control characters."""
    safe = "".join(c if c.isprintable() else "?" for c in text[:most])
    return f"{safe}…" if len(text) > most else safe


def _checked(pattern: re.Pattern[str], text: str, what: str, rule: str) -> str:
    if not pattern.fullmatch(text):
        raise DeviceError(f"{shown(text)!r} is no {what}", rule)
    return text


def app(text: str) -> str:
    """Name of an app. Raises DeviceError."""
    return _checked(_APP, text, "name of an app", "small letters, digits and - inside; at most 40 characters")


def process(text: str) -> str:
    """A process type, as a Procfile names it. Raises DeviceError."""
    return _checked(_PROCESS, text, "process type", "small letters, digits, - and _ inside")


def variable(text: str) -> str:
    """Name of an environment variable. Raises DeviceError."""
    return _checked(_VARIABLE, text, "variable", "letters, digits and _; no digit first")


def key(text: str) -> str:
    """Name of an SSH key. Raises DeviceError."""
    return _checked(_KEY, text, "name of a key", "letters, digits and _ . @ -; at most 64 characters")


def plugin(text: str) -> str:
    """Name of a plug-in. Raises DeviceError."""
    return _checked(_PROCESS, text, "name of a plug-in", "small letters, digits, - and _ inside")


def domain(text: str) -> str:
    """A host name, or a wildcard of one, in small letters. Raises DeviceError."""
    return _checked(_DOMAIN, text.lower(), "domain", "such as app.example.org or *.example.org")


def branch(text: str) -> str:
    """A branch, without refs/heads/. Raises DeviceError."""
    if ".." in text or "//" in text or text.endswith(("/", ".", ".lock")):
        text = ""
    return _checked(_BRANCH, text, "branch", "such as main or release/1.2")


def image(text: str) -> str:
    """Name of an image, with its registry, tag or digest. Raises DeviceError."""
    return _checked(
        _IMAGE, "" if ".." in text else text, "name of an image", "such as registry.example/app:1.2"
    )


def interface(text: str) -> str:
    """Name of a network interface. Raises DeviceError."""
    return _checked(_INTERFACE, text, "name of an interface", "such as eth0")


def file(text: str) -> str:
    """Name of a secret or a config. Raises DeviceError."""
    return _checked(_FILE, text, "name", "letters, digits, and _ . - inside; at most 32 characters")


def place(text: str) -> str:
    """Where a file is in a container. Raises DeviceError."""
    return _checked(_PLACE, text, "path of a file", "such as /etc/app/key.pem; at most 255 characters")


def number(text: str, what: str, low: int, high: int) -> int:
    """A whole number within bounds. Raises DeviceError."""
    if not text.isascii() or not text.isdigit() or len(text) > 12 or not low <= int(text) <= high:
        raise DeviceError(f"{what}: {shown(text)!r} is no number from {low} to {high}")
    return int(text)
