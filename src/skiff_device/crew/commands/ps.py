"""Processes of apps: how many, and whether they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from skiff_device.common.errors import DeviceError
from skiff_device.crew import names, settings, store
from skiff_device.crew.command import Args, Context, Family

if TYPE_CHECKING:
    from collections.abc import Callable

COMMANDS = Family("processes: how many, and whether they run")
_POLICIES = ("always", "no", "unless-stopped", "on-failure")


def _apps(context: Context, args: Args) -> list[str]:
    """One app, or all of them with --all."""
    if args.flag("--all"):
        args.none_left()
        if context.caller.role != "admin":
            raise DeviceError("--all is for admins", "name an app")
        return store.apps(context.paths)
    app = context.app(args)
    args.none_left()
    return [app]


def _each(context: Context, args: Args, change: Callable[[str], None], what: str) -> int:
    """Do something to every app named; status 1 when it failed for one."""
    from skiff_device.crew import events

    status = 0
    apps = _apps(context, args)
    for app in apps:
        try:
            change(app)
        except DeviceError as error:
            if len(apps) == 1:
                raise
            context.note(f"{app}: {error.message}")
            status = 1
        else:
            events.log(context.paths, context.caller, f"{app}: {what}")
    return status


@COMMANDS.command("ps:report [--json] APP", "show the containers of an app", access="read")
def report(context: Context, args: Args) -> int | None:
    """What runs, and what should."""
    from skiff_device.crew import deploy, release
    from skiff_device.crew.engine import Engine

    as_json = args.flag("--json")
    app = context.app(args)
    args.none_left()
    now = release.current(context.paths, app)
    section = store.section(context.paths, app, "ps")
    rows: dict[str, Any] = {
        "deployed": now is not None,
        "release": now.number if now else 0,
        "stopped": bool(section.get("stopped")),
        "restart policy": section.get("restart_policy", "unless-stopped"),
    }
    if now is not None:
        engine = Engine(context.paths)
        for process, count in deploy.scale_of(context.paths, app, now).items():
            rows[f"scale {process}"] = count
        for one in now.containers:
            found = engine.inspect(one.name)
            state = found["State"]["Status"] if found else "missing"
            rows[f"{one.process}.{one.index}"] = f"{state} {one.address} {one.name}"
        if now.services:
            from skiff_device.crew import services

            rows |= services.report(context.paths, app, now)
    context.report(rows, as_json, f"{app} processes")
    return None


@COMMANDS.command(
    "ps:scale [--no-restart] APP [TYPE=COUNT…]", "show or set how many of each process", "deploy"
)
def scale(context: Context, args: Args) -> int | None:
    """Containers of each process type."""
    from skiff_device.crew import deploy, release

    restart = not args.flag("--no-restart")
    app = context.app(args)
    words = args.rest()
    now = release.current(context.paths, app)
    if not words:
        for process, number in (deploy.scale_of(context.paths, app, now) if now else {}).items():
            context.say(f"{process}: {number}")
        return None
    wanted = {}
    for word in words:
        name, equals, count = word.partition("=")
        if not equals:
            raise DeviceError(f"{names.shown(word)!r} is no TYPE=COUNT", "ps:scale APP web=2 worker=1")
        process = names.process(name)
        if now is not None and process not in now.processes:
            there = ", ".join(now.processes)
            raise DeviceError(f"{app} has no process {process}", f"its Procfile has: {there}")
        wanted[process] = names.number(count, process, 0, 100)

    text = " ".join(f"{process}={count}" for process, count in wanted.items())
    _change(context, app, "scale", lambda old: {**(old or {}), **wanted}, f"scale {text}", restart)
    return None


def _change(
    context: Context, app: str, key: str, edit: Callable[[Any], Any], what: str, restart: bool = True
) -> None:
    """Edit one key of an app's processes, and redeploy. Raises DeviceError; it is as before then."""
    # Of this key alone: somebody may stop the app meanwhile.
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}

    def put(section: dict[str, Any]) -> None:
        if key in section:
            before[key] = section[key]
        after[key] = section[key] = edit(section.get(key))

    def back() -> None:
        store.change(context.paths, app, "ps", lambda section: settings.undo(section, before, after))

    store.change(context.paths, app, "ps", put)
    settings.put_into_effect(context, app, what, restart, back)


@COMMANDS.command("ps:stop [--all] APP", "stop an app, also over reboots", access="deploy")
def stop(context: Context, args: Args) -> int | None:
    """Until ps:start or the next push."""
    from skiff_device.crew import deploy

    return _each(context, args, lambda app: deploy.stop(context.paths, app, context.note), "stopped")


@COMMANDS.command("ps:start [--all] APP", "start an app that was stopped", access="deploy")
def start(context: Context, args: Args) -> int | None:
    """Nothing happens to one that runs."""
    from skiff_device.crew import deploy

    return _each(context, args, lambda app: deploy.start(context.paths, app, context.note), "started")


@COMMANDS.command("ps:restart [--all] APP", "make the containers anew, with no gap", access="deploy")
def restart(context: Context, args: Args) -> int | None:
    """The same image, with the settings of now."""
    from skiff_device.crew import deploy

    def again(app: str) -> None:
        if deploy.redeploy(context.paths, app, "restart", context.note) is None:
            raise DeviceError(f"{app} does not run", f"ps:start {app}, or push it")

    return _each(context, args, again, "restarted")


@COMMANDS.command(
    "ps:rebuild [--all] APP", "build what was pushed last again, and deploy it", access="deploy"
)
def rebuild(context: Context, args: Args) -> int | None:
    """From the app's repository."""
    from skiff_device.crew import receive

    return _each(
        context,
        args,
        lambda app: receive.rebuild(context.paths, app, context.caller, context.note),
        "rebuilt",
    )


@COMMANDS.command(
    "ps:set APP restart-policy POLICY", "when the engine starts ended processes again", "deploy"
)
def set_policy(context: Context, args: Args) -> int | None:
    """always, unless-stopped, no, on-failure or on-failure:N."""
    app = context.app(args)
    if args.take("restart-policy") != "restart-policy":
        raise DeviceError("only restart-policy can be set", f"usage: {args.usage}")
    policy = args.take("the policy")
    args.none_left()
    name, colon, count = policy.partition(":")
    if name not in _POLICIES or (
        colon and (name != "on-failure" or not (count.isascii() and count.isdigit()))
    ):
        raise DeviceError(f"{names.shown(policy)!r} is no policy", ", ".join(_POLICIES))
    _change(context, app, "restart_policy", lambda old: policy, f"restart policy {policy}")
    return None


@COMMANDS.command("ps:inspect APP", "what the engine knows of the containers, as JSON", access="deploy")
def inspect(context: Context, args: Args) -> int | None:
    """Variables are left out: config:show has them. Of an app on the cluster it is the services."""
    import json

    from skiff_device.crew import release
    from skiff_device.crew.engine import Engine

    app = context.app(args)
    args.none_left()
    now = release.current(context.paths, app)
    engine = Engine(context.paths)
    found = [engine.inspect(one.name) for one in (now.containers if now else ())]
    for one in found:
        if one is not None and isinstance(one.get("Config"), dict):
            one["Config"].pop("Env", None)
    if now is not None and now.services:
        from skiff_device.crew import services

        found = services.inspect(context.paths, app, now)
    context.say(json.dumps([one for one in found if one is not None], indent=1))
    return None
