"""Variables of apps: the environment that their containers see."""

from __future__ import annotations

import base64
import binascii
import json
import re
import shlex
from collections.abc import Callable

from skiff_device.common.errors import DeviceError
from skiff_device.crew import names, raw_env, settings, store
from skiff_device.crew.command import Args, Context, Family

Variables = dict[str, str]
COMMANDS = Family("variables that the containers of an app see")
# In bytes: what Linux takes for one variable (MAX_ARG_STRLEN) is 128 KiB.
_LONGEST = 120 << 10
_IMPORT = 1 << 20
# A line, or as many as a value in single quotes goes over: config:export writes such for a shell.
_LINE = re.compile(r"""(?:[^=#'\n]*='[^']*'(?:'[^']*'|"[^"]*"|\\.|[^\s'"\\])*)?[^\n]*\n?""")


def _whose(context: Context, args: Args) -> str | None:
    """The app, or None for those of all apps."""
    if args.flag("--global"):
        if context.caller.role != "admin":
            raise DeviceError("--global is for admins", "name an app")
        return None
    return context.app(args)


def _value(name: str, text: str) -> str:
    if not raw_env.may_be(text):
        raise DeviceError(
            f"{name}: a variable holds any byte but NUL", "keep it encoded, and decode it in the app"
        )
    if len(text.encode(errors="surrogateescape")) > _LONGEST:
        raise DeviceError(f"{name}: longer than {_LONGEST >> 10} KiB", "put it into a file: storage:mount")
    return text


def _change(
    context: Context, app: str | None, change: Callable[[Variables], None], what: str, restart: bool
) -> int:
    """Change variables, and restart the apps whose containers have others; status 1 when one of all fails.

    Raises DeviceError when a single app does; its variables are as before then.
    """
    from skiff_device.crew import deploy, events

    before = store.env(context.paths, app)
    after = store.change_env(context.paths, app, change)
    apps = [app] if app is not None else store.apps(context.paths)
    late = [name for name in apps if restart and deploy.is_late(context.paths, name)]
    if after == before and not late:
        context.note("nothing changed")
        return 0
    if app is None:
        events.log(context.paths, context.caller, f"all apps: {what}")
        return _restart(context, late, what)

    def back() -> None:
        store.change_env(context.paths, app, lambda env: settings.undo(env, before, after))

    settings.put_into_effect(context, app, what, bool(late), back)
    return 0


def _restart(context: Context, apps: list[str], what: str) -> int:
    """Restart apps; status 1 when one does not come up, which keeps no other from it."""
    from skiff_device.crew import deploy

    status = 0
    for app in apps:
        try:
            deploy.redeploy(context.paths, app, what, context.note)
        except DeviceError as error:
            context.note(f"{app}: {error.message}")
            status = 1
    return status


@COMMANDS.command("config:show [--json] APP|--global", "names and values", access="deploy")
def show(context: Context, args: Args) -> int | None:
    """Of the app itself; config:export --merged has those of all apps too."""
    as_json = args.flag("--json")
    app = _whose(context, args)
    args.none_left()
    context.report(
        dict(sorted(store.env(context.paths, app).items())), as_json, f"{app or 'global'} variables"
    )
    return None


@COMMANDS.command("config:get APP|--global NAME", "one value, as it is", access="deploy")
def get(context: Context, args: Args) -> int | None:
    """Status 1 when it is not set."""
    app = _whose(context, args)
    name = names.variable(args.take("the variable"))
    args.none_left()
    value = store.env(context.paths, app).get(name)
    if value is None:
        return 1
    context.raw(value.encode(errors="surrogateescape") + b"\n")
    return None


@COMMANDS.command(
    "config:set [--no-restart] [--encoded] APP|--global NAME=VALUE…",
    "set variables, and restart",
    access="deploy",
)
def set_(context: Context, args: Args) -> int | None:
    """With --encoded values are base64, for those that a shell on the way would spoil."""
    restart, encoded = not args.flag("--no-restart"), args.flag("--encoded")
    app = _whose(context, args)
    found: dict[str, str] = {}
    for word in args.rest():
        name, equals, value = word.partition("=")
        if not equals:
            raise DeviceError(f"{names.shown(word)!r} is no NAME=VALUE", f"usage: {args.usage}")
        name = names.variable(name)
        if encoded:
            try:
                value = base64.b64decode(value, validate=True).decode(errors="surrogateescape")
            except (binascii.Error, ValueError):
                raise DeviceError(f"{name}: this is no base64", "printf %s VALUE | base64 -w0") from None
        found[name] = _value(name, value)
    if not found:
        raise DeviceError("NAME=VALUE is missing", f"usage: {args.usage}")
    return _change(context, app, lambda env: env.update(found), f"config:set {' '.join(found)}", restart)


@COMMANDS.command(
    "config:unset [--no-restart] APP|--global NAME…", "remove variables, and restart", access="deploy"
)
def unset(context: Context, args: Args) -> int | None:
    """Those that are not set are no error."""
    restart = not args.flag("--no-restart")
    app = _whose(context, args)
    gone = [names.variable(word) for word in args.rest()]
    if not gone:
        raise DeviceError("NAME is missing", f"usage: {args.usage}")

    def change(env: Variables) -> None:
        for name in gone:
            env.pop(name, None)

    return _change(context, app, change, f"config:unset {' '.join(gone)}", restart)


@COMMANDS.command(
    "config:clear [--no-restart] APP|--global", "remove all variables, and restart", access="deploy"
)
def clear(context: Context, args: Args) -> int | None:
    """All of the app's own."""
    restart = not args.flag("--no-restart")
    app = _whose(context, args)
    args.none_left()
    return _change(context, app, lambda env: env.clear(), "config:clear", restart)


@COMMANDS.command("config:keys APP|--global", "names of variables", access="read")
def keys(context: Context, args: Args) -> int | None:
    """Without values."""
    app = _whose(context, args)
    args.none_left()
    for name in sorted(store.env(context.paths, app)):
        context.say(name)
    return None


@COMMANDS.command(
    "config:export [--format shell|json|envfile] [--merged] APP|--global", "all values", access="deploy"
)
def export(context: Context, args: Args) -> int | None:
    """For a shell (`export NAME='…'`), as JSON, or as NAME="…" lines that config:import takes."""
    form, merged = args.option("--format") or "shell", args.flag("--merged")
    app = _whose(context, args)
    args.none_left()
    found = {**(store.env(context.paths, None) if merged else {}), **store.env(context.paths, app)}
    match form:
        case "json":
            context.say(json.dumps(found, indent=1, sort_keys=True))
        case "shell":
            for name, value in sorted(found.items()):
                context.raw(f"export {name}={shlex.quote(value)}\n".encode(errors="surrogateescape"))
        case "envfile":
            for name, value in sorted(found.items()):
                context.say(f"{name}={json.dumps(value)}")
        case _:
            raise DeviceError(f"{names.shown(form)!r} is no format", "shell, json or envfile")
    return None


@COMMANDS.command(
    "config:import [--no-restart] [--replace] APP|--global", "set what comes on stdin", access="deploy"
)
def import_(context: Context, args: Args) -> int | None:
    """A JSON object, or NAME=VALUE lines; a value in double quotes is read as JSON text."""
    restart, replace = not args.flag("--no-restart"), args.flag("--replace")
    app = _whose(context, args)
    args.none_left()
    data = context.stdin.read(_IMPORT + 1)
    if len(data) > _IMPORT:
        raise DeviceError(f"more than {_IMPORT >> 20} MB", "put large values into files: storage:mount")
    found = parse(data.decode(errors="surrogateescape"))

    def change(env: Variables) -> None:
        if replace:
            env.clear()
        env.update(found)

    return _change(context, app, change, f"config:import {' '.join(found)}", restart)


def parse(text: str) -> dict[str, str]:
    """Variables of a JSON object or of lines. Raises DeviceError with the line."""
    found: dict[str, str] = {}
    if text.lstrip().startswith("{"):
        try:
            given = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DeviceError(f"this is no JSON: {error}", "config:export --format json") from None
        for name, value in given.items():
            if not isinstance(value, str):
                raise DeviceError(f"{names.shown(name)}: expected a text", "put it in quotes")
            found[names.variable(name)] = _value(name, value)
        return found
    number = 1
    for line in _LINE.findall(text):
        place, number = number, number + line.count("\n")
        stripped = line.strip().removeprefix("export ")
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.partition("=")
        try:
            if not equals:
                raise DeviceError("expected NAME=VALUE")
            name = names.variable(name.strip())
            if value[:1] == '"':
                value = json.loads(value)
            elif value[:1] == "'":
                # As config:export writes it for a shell.
                (value,) = shlex.split(value)
            if not isinstance(value, str):
                raise DeviceError("expected a text")
            found[name] = _value(name, value)
        except DeviceError as error:
            raise DeviceError(f"line {place}: {error.message}", "one variable a line") from None
        except ValueError:
            raise DeviceError(f"line {place}: {name}: the quotes do not fit", "as JSON writes it") from None
    return found
