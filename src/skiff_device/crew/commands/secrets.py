"""Secrets and configs of apps on the cluster: files in their containers, whose contents the cluster keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from skiff_device.common.errors import DeviceError
from skiff_device.crew import names, store
from skiff_device.crew.command import Args, Context, Family

if TYPE_CHECKING:
    from collections.abc import Callable

COMMANDS = Family("secrets and configs: files of apps on the cluster")


def _change(
    context: Context, app: str, kind: str, edit: Callable[[dict[str, Any]], None], what: str, restart: bool
) -> None:
    """Edit an app's files of a kind, and redeploy; what nobody has then is forgotten."""
    from skiff_device.crew import service_files, settings

    def change(section: dict[str, Any]) -> None:
        named = section.setdefault(kind, {})
        edit(named)
        if not named:
            del section[kind]

    try:
        settings.change(context, app, "files", change, what, restart)
    finally:
        service_files.sweep(context.paths, app)


def _set(context: Context, args: Args, kind: str) -> None:
    from skiff_device.crew import service_files

    restart, path = not args.flag("--no-restart"), args.option("--path")
    app = context.app(args)
    name = names.file(args.take("the name"))
    args.none_left()
    before = store.section(context.paths, app, "files").get(kind, {}).get(name, {})
    path = names.place(path) if path else str(before.get("path", ""))
    swarm = service_files.on_cluster(context.paths, app)
    data = context.stdin.read(service_files.LONGEST + 1)

    def edit(named: dict[str, Any]) -> None:
        named[name] = service_files.keep(swarm, app, kind, name, path, data)

    _change(context, app, kind, edit, f"{kind}:set {name}", restart)


def _unset(context: Context, args: Args, kind: str) -> None:
    restart = not args.flag("--no-restart")
    app = context.app(args)
    gone = [names.file(word) for word in args.rest()]
    there = store.section(context.paths, app, "files").get(kind, {})
    if not gone:
        raise DeviceError("NAME is missing", f"usage: {args.usage}")
    if missing := [name for name in gone if name not in there]:
        raise DeviceError(f"{app} has no {missing[0]} among its {kind}", f"{kind}:report {app}")

    def edit(named: dict[str, Any]) -> None:
        for name in gone:
            del named[name]

    _change(context, app, kind, edit, f"{kind}:unset {' '.join(gone)}", restart)


def _report(context: Context, args: Args, kind: str) -> None:
    as_json = args.flag("--json")
    app = context.app(args)
    args.none_left()
    found = store.section(context.paths, app, "files").get(kind, {})
    rows = {name: f"{file['path']} of {file['set']}" for name, file in found.items()}
    context.report(found if as_json else rows, as_json, f"{app} {kind}")


@COMMANDS.command(
    "secrets:set [--no-restart] [--path FILE] APP NAME",
    "keep what comes on stdin as a secret",
    access="deploy",
)
def set_secret(context: Context, args: Args) -> int | None:
    """Its file is /run/secrets/NAME, in RAM. Setting it again is a new one, in a rolling update."""
    _set(context, args, "secrets")
    return None


@COMMANDS.command("secrets:unset [--no-restart] APP NAME…", "remove secrets", access="deploy")
def unset_secret(context: Context, args: Args) -> int | None:
    """The cluster forgets one with the last release that has it."""
    _unset(context, args, "secrets")
    return None


@COMMANDS.command("secrets:report [--json] APP", "which secrets there are, and since when", access="read")
def report_secrets(context: Context, args: Args) -> int | None:
    """What they hold is told to nobody."""
    _report(context, args, "secrets")
    return None


@COMMANDS.command(
    "configs:set [--no-restart] [--path FILE] APP NAME", "keep what comes on stdin as a file", access="deploy"
)
def set_config(context: Context, args: Args) -> int | None:
    """Its file is /NAME; managers can read what it holds."""
    _set(context, args, "configs")
    return None


@COMMANDS.command("configs:unset [--no-restart] APP NAME…", "remove such files", access="deploy")
def unset_config(context: Context, args: Args) -> int | None:
    """The cluster forgets one with the last release that has it."""
    _unset(context, args, "configs")
    return None


@COMMANDS.command("configs:report [--json] APP", "which such files there are, and since when", access="read")
def report_configs(context: Context, args: Args) -> int | None:
    """Without what they hold."""
    _report(context, args, "configs")
    return None
