"""How apps are built: the file that says how, and the limits of a build."""

from __future__ import annotations

import re
from typing import Any

from skiff_device.common.errors import DeviceError
from skiff_device.crew import names, store
from skiff_device.crew.command import Args, Context, Family

COMMANDS = Family("how apps are built, and the limits of a build")
_SIZE = re.compile(r"([0-9]{1,9})([kmg]?)")
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30}
_PATH = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_./-]{0,199}")
_TARGET = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
# In seconds, processes and bytes.
_DAY = 86_400
_PIDS = (16, 32_768)
_LEAST = {"memory": 6 << 20, "max-push": 1 << 10}


def _size(text: str, name: str) -> int:
    match = _SIZE.fullmatch(text.lower())
    size = int(match[1]) << _UNITS[match[2]] if match else 0
    if size < _LEAST[name] or size >= 1 << 50:
        raise DeviceError(f"{name}: {names.shown(text)!r} is no size", "bytes, or such as 512m or 2g")
    return size


def _path(text: str) -> str:
    if not _PATH.fullmatch(text) or ".." in text.split("/"):
        raise DeviceError(f"{names.shown(text)!r} is no path in a repository", "such as docker/Dockerfile")
    return text


def _target(text: str) -> str:
    if not _TARGET.fullmatch(text):
        raise DeviceError(f"{names.shown(text)!r} is no name of a stage", "FROM … AS NAME")
    return text


def _way(text: str) -> str:
    from skiff_device.crew import other_cpus

    if text not in other_cpus.WAYS:
        raise DeviceError(f"{names.shown(text)!r} is no way to build", ", ".join(other_cpus.WAYS))
    return text


def _set(context: Context, args: Args, wanted: dict[str, tuple[str, Any]]) -> int | None:
    """Set one of the settings named (key of the section, reader of the value), or its default without one."""
    from skiff_device.crew import events

    app = context.app(args)
    name, value = args.take("the name"), args.take_or("")
    args.none_left()
    if name not in wanted:
        raise DeviceError(f"{names.shown(name)} cannot be set", f"there are: {', '.join(wanted)}")
    key, read = wanted[name]
    found = read(value) if value else None

    def change(section: dict[str, Any]) -> None:
        section.pop(key, None)
        if found is not None:
            section[key] = found

    store.change(context.paths, app, "build", change)
    events.log(context.paths, context.caller, f"{app}: {name} {value or 'as usual'}")
    return None


@COMMANDS.command(
    "builder:set APP NAME [VALUE]",
    "time-limit (seconds), memory, pids, max-push (sizes), other-cpus (try, must, never)",
)
def set_(context: Context, args: Args) -> int | None:
    """For admins: they bound what a deploy key may take of the device. Without VALUE as at the beginning."""
    return _set(
        context,
        args,
        {
            "time-limit": ("time_limit", lambda text: names.number(text, "time-limit", 1, _DAY)),
            "memory": ("memory", lambda text: _size(text, "memory")),
            "pids": ("pids", lambda text: names.number(text, "pids", *_PIDS)),
            "max-push": ("max_push", lambda text: _size(text, "max-push")),
            "other-cpus": ("other_cpus", _way),
        },
    )


@COMMANDS.command(
    "builder-dockerfile:set APP NAME [VALUE]", "dockerfile-path, target (a stage of it)", access="deploy"
)
def dockerfile(context: Context, args: Args) -> int | None:
    """From the next build on. Without VALUE as at the beginning."""
    return _set(context, args, {"dockerfile-path": ("dockerfile", _path), "target": ("target", _target)})


@COMMANDS.command("builder:report [--json] APP", "how an app is built", access="read")
def report(context: Context, args: Args) -> int | None:
    """Sizes in bytes, times in seconds."""
    from skiff_device.crew import build, other_cpus, repo

    as_json = args.flag("--json")
    app = context.app(args)
    args.none_left()
    section = store.section(context.paths, app, "build")
    usual = build.Limits()
    rows: dict[str, Any] = {
        "dockerfile path": section.get("dockerfile", "Dockerfile"),
        "target": section.get("target", ""),
        "time limit": section.get("time_limit", int(usual.seconds)),
        "memory": section.get("memory", usual.memory),
        "pids": section.get("pids", usual.pids),
        "max push": section.get("max_push", repo.MAX_PUSH),
        "other cpus": other_cpus.way(context.paths, app),
    }
    context.report(rows, as_json, f"{app} builder")
    return None
