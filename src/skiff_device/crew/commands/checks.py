"""Checks that a new release must pass before it takes over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from skiff_device.common.errors import DeviceError
from skiff_device.crew import names, store
from skiff_device.crew.command import Args, Context, Family

if TYPE_CHECKING:
    from skiff_device.crew.release import Release

COMMANDS = Family("checks of a new release before it takes over")
# Names of settings as they are kept, and their bounds; seconds but for attempts.
_SETTINGS = {
    "wait": ("wait", 0, 3600),
    "timeout": ("timeout", 1, 600),
    "attempts": ("attempts", 1, 100),
    "wait-to-retire": ("wait_to_retire", 0, 3600),
}


def _processes(args: Args) -> list[str]:
    """Process types of a list with commas; every one when there is none."""
    from skiff_device.crew import preflight

    word = args.take_or("")
    args.none_left()
    return [names.process(name) for name in word.split(",")] if word else [preflight.ALL]


def _lists(section: store.Section) -> list[str]:
    return [*section.get("disabled", []), *section.get("skipped", [])]


def _change(context: Context, app: str, change: Any, text: str) -> None:
    from skiff_device.crew import events

    store.change(context.paths, app, "checks", change)
    events.log(context.paths, context.caller, f"{app}: {text}")


def _move(context: Context, args: Args, to: str, verb: str) -> None:
    """Put processes into one of the lists, and out of the others. Counts from the next deploy on."""
    from skiff_device.crew import preflight

    app = context.app(args)
    processes = _processes(args)
    told = store.section(context.paths, app, "checks")
    if not to and processes != [preflight.ALL] and preflight.ALL in _lists(told):
        raise DeviceError("checks of all processes are off", f"checks:enable {app}")

    def change(section: store.Section) -> None:
        for name in ("disabled", "skipped"):
            left = [one for one in section.get(name, []) if one not in processes]
            if processes == [preflight.ALL]:
                left = []
            if name == to:
                left = [*left, *processes]
            section.pop(name, None)
            if left:
                section[name] = left

    _change(context, app, change, f"checks:{verb} {' '.join(processes)}")


@COMMANDS.command("checks:enable APP [TYPE,…]", "check new containers again", access="deploy")
def enable(context: Context, args: Args) -> int | None:
    """As at the beginning."""
    _move(context, args, "", "enable")
    return None


@COMMANDS.command(
    "checks:disable APP [TYPE,…]", "stop the old containers before new ones start, unchecked", "deploy"
)
def disable(context: Context, args: Args) -> int | None:
    """For processes that must not run twice, for a device or a file that they hold."""
    _move(context, args, "disabled", "disable")
    return None


@COMMANDS.command("checks:skip APP [TYPE,…]", "switch to new containers unchecked, with no gap", "deploy")
def skip(context: Context, args: Args) -> int | None:
    """As soon as they have started."""
    _move(context, args, "skipped", "skip")
    return None


@COMMANDS.command(
    "checks:set APP wait|timeout|attempts|wait-to-retire [NUMBER]",
    "how long and how often; without a number as at the beginning",
    access="deploy",
)
def set_(context: Context, args: Args) -> int | None:
    """For checks that say nothing else. wait is also how long a process without any must stay up."""
    app = context.app(args)
    name, value = args.take("the name"), args.take_or("")
    args.none_left()
    if name not in _SETTINGS:
        raise DeviceError(f"{names.shown(name)!r} cannot be set", ", ".join(_SETTINGS))
    key, low, high = _SETTINGS[name]
    number = names.number(value, name, low, high) if value else None

    def change(section: store.Section) -> None:
        section.pop(key, None)
        if number is not None:
            section[key] = number

    _change(context, app, change, f"checks:set {name} {value}".rstrip())
    return None


@COMMANDS.command("checks:run APP [TYPE]", "check what runs now", access="deploy")
def run(context: Context, args: Args) -> int | None:
    """Status 1 when one does not pass; nothing is changed."""
    from skiff_device.crew import check, preflight
    from skiff_device.crew.engine import Engine

    app = context.app(args)
    now = _serving(context, app)
    process = args.take_or("")
    args.none_left()
    wanted = [one for one in now.containers if process in ("", one.process)]
    if not wanted:
        raise DeviceError(f"{app} has no process {names.shown(process)}", f"ps:report {app}")
    engine = Engine(context.paths)
    status = 0
    for one in wanted:
        plan = preflight.plan(context.paths, app, now, one.process)
        if plan is None:
            context.say(f"{one.process}.{one.index}: not checked")
            continue
        try:
            check.ready(engine, one, plan, context.say)
        except DeviceError as error:
            context.note(error.message)
            status = 1
    return status


def _serving(context: Context, app: str) -> Release:
    from skiff_device.crew import release

    now = release.current(context.paths, app)
    if now is None or store.section(context.paths, app, "ps").get("stopped"):
        raise DeviceError(f"{app} does not run", f"ps:start {app}, or push it")
    return now


@COMMANDS.command("checks:report [--json] APP", "settings, and which checks there are", access="read")
def report(context: Context, args: Args) -> int | None:
    """Those of each process of the release that serves."""
    from skiff_device.crew import check, preflight, release, retire

    as_json = args.flag("--json")
    app = context.app(args)
    args.none_left()
    section = store.section(context.paths, app, "checks")
    rows: dict[str, Any] = {
        "disabled": section.get("disabled", []),
        "skipped": section.get("skipped", []),
        "wait": section.get("wait", check.DEFAULT_UPTIME),
        "timeout": section.get("timeout", "as the check says"),
        "attempts": section.get("attempts", "as the check says"),
        "wait to retire": section.get("wait_to_retire", retire.WAIT),
    }
    now = release.current(context.paths, app)
    for process in now.processes if now is not None else ():
        plan = preflight.plan(context.paths, app, now, process) if now is not None else None
        rows[process] = "not checked" if plan is None else _shown(plan)
    context.report(rows, as_json, f"{app} checks")
    return None


def _shown(plan: Any) -> str:
    told = [
        f"{one.kind} {one.path if one.kind == 'http' else ' '.join(one.command)}".rstrip()
        for one in plan.checks
    ]
    if told:
        return ", ".join(told)
    return f"listens on port {plan.port}" if plan.port else f"stays up for {plan.uptime:g} s"
