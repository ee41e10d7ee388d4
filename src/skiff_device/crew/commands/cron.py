"""Scheduled jobs: what app.json asks for, shown, run by hand, and held back."""

from __future__ import annotations

import json
import sys
from typing import Any

from skiff_device.common.errors import DeviceError
from skiff_device.crew import names, store
from skiff_device.crew.command import Args, Context, Family

COMMANDS = Family("scheduled jobs, as app.json asks for them")
# A day, in seconds.
_LONGEST = 86_400


def _row(job: Any) -> dict[str, Any]:
    return {"id": job.id, "schedule": job.schedule, "command": job.command, "suspended": job.suspended}


@COMMANDS.command("cron:list [--json] APP", "jobs of an app, with their ids", access="read")
def listing(context: Context, args: Args) -> int | None:
    """Those of the release that serves."""
    from skiff_device.crew import crontab

    as_json = args.flag("--json")
    app = context.app(args)
    args.none_left()
    found = crontab.jobs(context.paths, app)
    if as_json:
        context.say(json.dumps([_row(job) for job in found], indent=1))
        return None
    for job in found:
        held = "  (suspended)" if job.suspended else ""
        schedule, command = (" ".join(text.split()) for text in (job.schedule, job.command))
        context.say(f"{job.id}  {schedule}  {names.shown(command, len(command))}{held}")
    return None


@COMMANDS.command("cron:report [--json] APP", "settings and jobs", access="read")
def report(context: Context, args: Args) -> int | None:
    """What crond has of an app."""
    from skiff_device.crew import crontab

    as_json = args.flag("--json")
    app = context.app(args)
    args.none_left()
    section = store.section(context.paths, app, "cron")
    found = crontab.jobs(context.paths, app)
    rows: dict[str, Any] = {
        "jobs": len(found),
        "suspended": sum(job.suspended for job in found),
        "maintenance": bool(section.get("maintenance")),
        "time limit": section.get("time_limit", crontab.TIME_LIMIT),
    }
    context.report(rows, as_json, f"{app} cron")
    return None


@COMMANDS.command("cron:run APP ID", "run a job now, and show what it writes", access="deploy")
def run(context: Context, args: Args) -> int | None:
    """Its exit status is the command's. A suspended one runs too."""
    from skiff_device.crew import crontab, events

    app = context.app(args)
    job = crontab.find(context.paths, app, args.take("the job"))
    args.none_left()

    def out(stream: int, data: bytes) -> None:
        file = sys.stderr.buffer if stream == 2 else sys.stdout.buffer
        file.write(data)
        file.flush()

    events.log(context.paths, context.caller, f"{app}: cron:run {job.id}")
    return crontab.once(context.paths, app, job, out)


def _suspend(context: Context, args: Args, suspended: bool) -> int | None:
    from skiff_device.crew import crontab, events

    app = context.app(args)
    job = crontab.find(context.paths, app, args.take("the job"))
    args.none_left()

    def change(section: dict[str, Any]) -> None:
        # Jobs that are gone are forgotten.
        there = {one.id for one in crontab.jobs(context.paths, app)}
        told = {name: value for name, value in section.get("jobs", {}).items() if name in there}
        section["jobs"] = {**told, job.id: suspended}

    store.change(context.paths, app, "cron", change)
    crontab.write(context.paths)
    events.log(
        context.paths, context.caller, f"{app}: job {job.id} {'suspended' if suspended else 'resumed'}"
    )
    return None


@COMMANDS.command("cron:suspend APP ID", "hold a job back", access="deploy")
def suspend(context: Context, args: Args) -> int | None:
    """Until cron:resume, as long as its command and schedule stay."""
    return _suspend(context, args, True)


@COMMANDS.command("cron:resume APP ID", "let a job run again", access="deploy")
def resume(context: Context, args: Args) -> int | None:
    """Also one that app.json marks with maintenance."""
    return _suspend(context, args, False)


@COMMANDS.command(
    "cron:set APP NAME VALUE", "maintenance (true or false), time-limit (seconds)", access="deploy"
)
def set_(context: Context, args: Args) -> int | None:
    """maintenance holds all jobs of the app back."""
    from skiff_device.crew import crontab, events

    app = context.app(args)
    name, value = args.take("the name"), args.take("the value")
    args.none_left()
    if name == "maintenance" and value in ("true", "false"):
        wanted: dict[str, Any] = {"maintenance": value == "true"}
    elif name == "time-limit":
        wanted = {"time_limit": names.number(value, name, 1, _LONGEST)}
    else:
        raise DeviceError(f"{names.shown(name)} {names.shown(value)} cannot be set", f"usage: {args.usage}")
    store.change(context.paths, app, "cron", lambda section: section.update(wanted))
    crontab.write(context.paths)
    events.log(context.paths, context.caller, f"{app}: cron:set {name} {value}")
    return None
