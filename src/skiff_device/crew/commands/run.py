"""Commands in containers: one-off ones of their own, or in those that serve."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skiff_device.common.errors import DeviceError
from skiff_device.crew import names, store
from skiff_device.crew.command import Args, Context, Family

if TYPE_CHECKING:
    from skiff_device.crew.engine import Engine

COMMANDS = Family("commands in containers of an app")
# How long one may take to end by itself, in seconds.
_STOP = 10


def _variables(args: Args) -> dict[str, str]:
    found = {}
    for word in args.options("--env", "-e"):
        name, equals, value = word.partition("=")
        if not equals or "\0" in value:
            raise DeviceError(f"{names.shown(word)!r} is no NAME=VALUE", f"usage: {args.usage}")
        found[names.variable(name)] = value
    return found


def _command(args: Args) -> list[str]:
    argv = args.rest()
    if not argv:
        raise DeviceError("the command is missing", f"usage: {args.usage}")
    if any("\0" in word for word in argv):
        raise DeviceError("a command cannot hold a NUL", "give it on standard input")
    return argv


@COMMANDS.command(
    "run [--env NAME=VALUE]… [--no-tty] APP COMMAND…", "run a command in a container of its own", "deploy"
)
def run(context: Context, args: Args) -> int | None:
    """Its standard streams and exit status are the command's; `ssh -t` gives it a terminal."""
    from skiff_device.crew import attach, events, oneoff
    from skiff_device.crew.engine import Engine

    args.options_first("--env", "-e")
    variables = _variables(args)
    tty = not args.flag("--no-tty", "-T") and attach.has_terminal()
    app = context.app(args)
    argv = _command(args)
    engine = Engine(context.paths)
    flags = ("--interactive", "--tty") if tty else ("--interactive",)
    name = oneoff.create(engine, context.paths, app, argv, env=variables, flags=flags)
    events.log(context.paths, context.caller, f"{app}: run {argv[0]}")
    try:
        with attach.to_container(context.paths, name) as stream:
            engine.start(name)
            attach.join(stream, tty, lambda height, width: engine.resize(f"containers/{name}", height, width))
        return engine.wait(name)
    finally:
        # A lost connection comes here too: what nobody reads goes.
        with suppress(DeviceError):
            engine.remove(name)


@COMMANDS.command(
    "run:detached [--env NAME=VALUE]… APP COMMAND…", "run a command and do not wait for it", "deploy"
)
def detached(context: Context, args: Args) -> int | None:
    """Says its name; `logs -p run` shows what it writes. It is removed when it ends."""
    from skiff_device.crew import events, oneoff
    from skiff_device.crew.engine import Engine

    args.options_first("--env", "-e")
    variables = _variables(args)
    app = context.app(args)
    argv = _command(args)
    engine = Engine(context.paths)
    name = oneoff.create(engine, context.paths, app, argv, env=variables, flags=("--rm",))
    try:
        engine.start(name)
    except BaseException:
        engine.remove(name)
        raise
    events.log(context.paths, context.caller, f"{app}: run:detached {argv[0]}")
    context.say(name)
    return None


@COMMANDS.command("run:list [--json] APP", "one-off containers", access="read")
def listing(context: Context, args: Args) -> int | None:
    """Name, state, since when, command."""
    from skiff_device.crew import oneoff
    from skiff_device.crew.engine import Engine

    as_json = args.flag("--json")
    app = context.app(args)
    args.none_left()
    rows: list[dict[str, Any]] = [
        {
            "name": str(one["Names"][0]).lstrip("/"),
            "state": one.get("State", ""),
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(_seconds(one.get("Created")))),
            "command": one.get("Command", ""),
        }
        for one in oneoff.listing(Engine(context.paths), app)
    ]
    if as_json:
        context.say(json.dumps(rows, indent=1))
    else:
        for row in rows:
            context.say(
                f"{row['name']}  {row['state']}  {row['created']}  {names.shown(str(row['command']))}"
            )
    return None


def _seconds(created: Any) -> float:
    return float(created) if isinstance(created, int | float) else 0.0


@COMMANDS.command("run:stop APP [NAME]", "end one-off containers: one, or all of an app", access="deploy")
def stop(context: Context, args: Args) -> int | None:
    """By its name or number."""
    from skiff_device.crew import events, oneoff
    from skiff_device.crew.engine import Engine

    app = context.app(args)
    word = args.take_or("")
    args.none_left()
    engine = Engine(context.paths)
    there = [str(one["Names"][0]).lstrip("/") for one in oneoff.listing(engine, app)]
    for name in [oneoff.find(engine, app, word)] if word else there:
        engine.stop(name, _STOP)
        engine.remove(name)
        events.log(context.paths, context.caller, f"{app}: run:stop {name}")
    return None


@COMMANDS.command(
    "enter [--no-tty] APP [PROCESS[.N]] [COMMAND…]",
    "run a command, by default a shell, in a container that serves",
    access="deploy",
)
def enter(context: Context, args: Args) -> int | None:
    """Where the first word after the app is no process of it, it belongs to the command."""
    from skiff_device.crew import attach, events, raw_env
    from skiff_device.crew.engine import Engine

    args.options_first()
    tty = not args.flag("--no-tty", "-T") and attach.has_terminal()
    app = context.app(args)
    words = args.rest()
    name, words = _container(context, app, words)
    argv = words or ["/bin/sh"]
    engine = Engine(context.paths)
    made = engine.create_exec(name, [*raw_env.before(context.paths, app, name), *argv], tty)
    events.log(context.paths, context.caller, f"{app}: enter {argv[0]}")
    try:
        with attach.to_exec(context.paths, made, tty) as stream:
            attach.join(stream, tty, lambda height, width: engine.resize(f"exec/{made}", height, width))
    except BaseException:
        _hang_up(engine, name, made)
        raise
    return int(engine.inspect_exec(made).get("ExitCode") or 0)


def _container(context: Context, app: str, words: list[str]) -> tuple[str, list[str]]:
    """Which container, and the words left."""
    from skiff_device.crew import release

    now = release.current(context.paths, app)
    if now is None or store.section(context.paths, app, "ps").get("stopped"):
        raise DeviceError(f"{app} does not run", f"ps:start {app}, or push it")
    if now.services:
        raise DeviceError(
            f"{app} is on the cluster, and its containers on any device",
            f"ps:report {app} tells where; there, as root: docker exec -it. Or a new one: run {app} COMMAND",
        )
    process, dot, index = words[0].partition(".") if words else ("", "", "")
    if process in now.processes and (not dot or index.isdigit()):
        words = words[1:]
    else:
        process, dot, index = "", "", ""
    for one in now.containers:
        if process in ("", one.process) and index in ("", str(one.index)):
            return one.name, words
    raise DeviceError(f"{app} has no such container", f"ps:report {app}")


def _hang_up(engine: Engine, name: str, made: str) -> None:
    """End a program whose terminal went away: the engine itself lets it run on for ever."""
    with suppress(DeviceError, OSError, ValueError, StopIteration):
        pid = int(engine.inspect_exec(made).get("Pid") or 0)
        # Its number inside the container is the last one of the line (proc(5), NSpid).
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        inside = next(line.split()[-1] for line in lines if line.startswith("NSpid:"))
        engine.execute(name, ["/bin/sh", "-c", 'kill -s HUP "$0"', inside], timeout=10)
