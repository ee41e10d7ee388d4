"""The flags of each instruction, and what their values may be."""

from __future__ import annotations

import csv
import difflib
import re
from typing import NamedTuple

from skiff.port.dockerfile.model import Flag

Problem = tuple[str, str]
# Go's durations: 1h30m, 1.5s.
_DURATION = re.compile(r"0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
_MOUNT_TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
_MOUNT_KEYS = {
    "type": "",
    "target": "",
    "dst": "",
    "destination": "",
    "source": "bind cache secret",
    "src": "bind cache secret",
    "from": "bind cache",
    "readonly": "",
    "ro": "",
    "readwrite": "",
    "rw": "",
    "id": "cache secret ssh",
    "sharing": "cache",
    "mode": "cache secret ssh",
    "uid": "cache secret ssh",
    "gid": "cache secret ssh",
    "size": "tmpfs",
    "required": "secret ssh",
    "env": "secret",
}
_BARE_MOUNT_KEYS = ("readonly", "ro", "readwrite", "rw", "required")


class Rule(NamedTuple):
    """What a flag's value may be: any text, one of ``choices``, true or false, a duration …"""

    kind: str = "text"
    repeated: bool = False
    choices: tuple[str, ...] = ()


_TEXT, _SWITCH, _DURATIONS = Rule(), Rule("switch"), Rule("duration")
FLAGS: dict[str, dict[str, Rule]] = {
    "FROM": {"platform": _TEXT},
    "ADD": {
        "chown": _TEXT,
        "chmod": _TEXT,
        "link": _SWITCH,
        "keep-git-dir": _SWITCH,
        "checksum": Rule("checksum"),
        "unpack": _SWITCH,
        "exclude": Rule(repeated=True),
    },
    "COPY": {
        "from": Rule("fixed"),
        "chown": _TEXT,
        "chmod": _TEXT,
        "link": _SWITCH,
        "parents": _SWITCH,
        "exclude": Rule(repeated=True),
    },
    "RUN": {
        "mount": Rule("mount", repeated=True),
        "network": Rule("choice", choices=("default", "none", "host")),
        "security": Rule("choice", choices=("sandbox", "insecure")),
        "device": Rule(repeated=True),
    },
    "HEALTHCHECK": {
        "interval": _DURATIONS,
        "timeout": _DURATIONS,
        "start-period": _DURATIONS,
        "start-interval": _DURATIONS,
        "retries": Rule("number"),
    },
}


def check_flag(keyword: str, flag: Flag) -> Problem | None:
    """What is wrong with a flag, and a hint; None if it is well."""
    known = FLAGS.get(keyword, {})
    rule = known.get(flag.name)
    if rule is None:
        near = difflib.get_close_matches(flag.name, known, n=1)
        names = ", ".join(f"--{name}" for name in known)
        hint = f"did you mean --{near[0]}?" if near else f"it takes {names}" if names else "it takes no flags"
        return f"{keyword} has no flag --{flag.name}", hint
    if rule.kind == "switch":
        wrong = flag.value is not None and flag.value.lower() not in ("true", "false")
        return (f"--{flag.name}={flag.value}", "it is true or false") if wrong else None
    if flag.value is None:
        return f"--{flag.name} without a value", f"write it as --{flag.name}=…"
    return _check_value(rule, flag.name, flag.value)


def _check_value(rule: Rule, name: str, value: str) -> Problem | None:
    shown = f"--{name}={value}"
    if rule.kind == "choice" and value not in rule.choices:
        return shown, f"one of {', '.join(rule.choices)}"
    if rule.kind == "duration" and not _is_duration(value):
        return f"{shown}: not a duration", "as in 30s, 1m30s or 500ms"
    if rule.kind == "number" and not re.fullmatch("[0-9]{1,9}", value):
        return f"{shown}: not a whole number", "as in 3"
    if rule.kind == "checksum" and "$" not in value and not re.fullmatch("[a-z0-9]+:[0-9a-fA-F]+", value):
        return f"{shown}: not a checksum", "as in sha256:…"
    if rule.kind == "fixed" and "$" in value:
        return f"{shown}: variables are not put in here", "name a stage: FROM … AS NAME, and --from=NAME"
    return _check_mount(value) if rule.kind == "mount" else None


def _is_duration(value: str) -> bool:
    if value == "0":
        return True
    rest, count = value, 0
    while match := _DURATION.match(rest):
        if match[0] == "0":
            break
        rest, count = rest[match.end() :], count + 1
    return count > 0 and not rest


def mount_options(value: str) -> dict[str, str]:
    """The options of ``--mount``; an option without a value has an empty one. The last one counts."""
    fields = next(csv.reader([value]), []) if "\n" not in value else [value]
    pairs = (field.partition("=") for field in fields)
    return {key.lower(): text for key, _, text in pairs}


def _check_mount(value: str) -> Problem | None:
    shown = f"--mount={value}"
    try:
        options = mount_options(value)
    except csv.Error:
        return f"{shown}: not a list of options", "as in --mount=type=cache,target=/root/.cache"
    kind = options.get("type", "bind").lower()
    if kind not in _MOUNT_TYPES and "$" not in kind:
        return f"{shown}: no mount of type {kind}", f"one of {', '.join(_MOUNT_TYPES)}"
    for key, text in options.items():
        if key not in _MOUNT_KEYS:
            near = difflib.get_close_matches(key, _MOUNT_KEYS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(_MOUNT_KEYS)}"
            return f"{shown}: no option {key}", hint
        only = _MOUNT_KEYS[key].split()
        if only and kind in _MOUNT_TYPES and kind not in only:
            return f"{shown}: {key} is no option of type {kind}", f"it is one of {' and '.join(only)}"
        if not text and key not in _BARE_MOUNT_KEYS and key not in ("source", "src", "env", "id"):
            return f"{shown}: {key} without a value", f"write it as {key}=…"
    if "$" in options.get("from", "").rstrip("$"):
        return f"{shown}: variables are not put in behind from=", "name a stage: FROM … AS NAME, from=NAME"
    return None
