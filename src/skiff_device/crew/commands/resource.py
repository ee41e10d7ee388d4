"""Resources: how much memory, CPU and how many processes the containers of an app may have."""

from __future__ import annotations

import re
from typing import Any

from skiff_device.common.errors import DeviceError
from skiff_device.crew import containers, names, settings, store
from skiff_device.crew.command import Args, Context, Family

COMMANDS = Family("limits of memory, CPU and processes")
# Limits of all processes of an app that have none of their own.
_ALL = "_default_"
_MEMORY = re.compile(r"([0-9]{1,9})([bkmg]?)", re.IGNORECASE)
_CPU = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3})?")
_UNITS = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
# The engine takes no less, in bytes.
_LEAST_MEMORY = 6 << 20


def memory(text: str) -> str:
    """An amount of memory as the engine takes it; a number alone is in MB. Raises DeviceError."""
    match = _MEMORY.fullmatch(text)
    if match is None:
        raise DeviceError(f"{names.shown(text)!r} is no amount of memory", "such as 256m or 1g")
    unit = match[2].lower() or "m"
    if int(match[1]) * _UNITS[unit] < _LEAST_MEMORY:
        raise DeviceError(f"{names.shown(text)} of memory is too little", "at least 6m")
    return f"{int(match[1])}{unit}"


def _cpu(text: str) -> str:
    if not _CPU.fullmatch(text) or float(text) <= 0:
        raise DeviceError(f"{names.shown(text)!r} is no number of CPUs", "such as 0.5 or 2")
    return text


def _pids(text: str) -> str:
    return str(names.number(text, "pids", 1, 100_000))


_CHECKS = {"memory": memory, "cpu": _cpu, "pids": _pids}


def _given(args: Args) -> dict[str, str]:
    found = {name: args.option(f"--{name}") for name in _CHECKS}
    return {name: _CHECKS[name](value) for name, value in found.items() if value is not None}


def _process(context: Context, args: Args) -> str:
    text = args.option("--process-type")
    return _ALL if text is None else names.process(text)


@COMMANDS.command(
    "resource:limit [--memory SIZE] [--cpu COUNT] [--pids COUNT] [--process-type TYPE] [--no-restart] APP",
    "show limits, or set them and restart",
)
def limit(context: Context, args: Args) -> int | None:
    """Of one process type, else of all. `run` and `cron` are those of one-off containers and of jobs."""
    restart = not args.flag("--no-restart")
    given, process = _given(args), _process(context, args)
    app = context.app(args)
    args.none_left()
    if not given:
        _show(context, app, False)
        return None

    def change(section: store.Section) -> None:
        known = section.get("limit", {})
        section["limit"] = {**known, process: {**known.get(process, {}), **given}}

    text = " ".join(f"{name}={value}" for name, value in given.items())
    settings.change(context, app, "resource", change, f"resource:limit {process} {text}", restart)
    return None


@COMMANDS.command(
    "resource:limit-clear [--process-type TYPE] [--no-restart] APP", "take limits away, and restart"
)
def limit_clear(context: Context, args: Args) -> int | None:
    """Of one process type, else all; what a fork bomb meets stays."""
    restart = not args.flag("--no-restart")
    process = _process(context, args)
    app = context.app(args)
    args.none_left()

    def change(section: store.Section) -> None:
        known = {} if process == _ALL else dict(section.get("limit", {}))
        known.pop(process, None)
        section.clear()
        if known:
            section["limit"] = known

    settings.change(context, app, "resource", change, f"resource:limit-clear {process}", restart)
    return None


@COMMANDS.command("resource:report [--json] APP", "limits of an app", access="read")
def report(context: Context, args: Args) -> int | None:
    """TYPE.LIMIT; _default_ is of all processes."""
    as_json = args.flag("--json")
    app = context.app(args)
    args.none_left()
    _show(context, app, as_json)
    return None


def _show(context: Context, app: str, as_json: bool) -> None:
    known = store.section(context.paths, app, "resource").get("limit", {})
    rows: dict[str, Any] = {f"{_ALL}.pids": containers.DEFAULT_PIDS}
    for process, limits in sorted(known.items()):
        rows |= {f"{process}.{name}": value for name, value in limits.items()}
    context.report(rows, as_json, f"{app} resources")
