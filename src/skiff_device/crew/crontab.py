"""Scheduled jobs of apps: what app.json asks for, crond's table of them, and one run of a job."""

from __future__ import annotations

import hashlib
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from skiff_device.common.errors import DeviceError
from skiff_device.common.files import write_atomically
from skiff_device.crew import containers, deadline, schedule, service, store
from skiff_device.crew import release as releases
from skiff_device.crew.command import Caller
from skiff_device.crew.paths import Paths

SERVICE = "crew-cron"
# How long one run may take, in seconds (cron:set APP time-limit).
TIME_LIMIT = 3600
# Of one app. busybox's crond reads 256 lines of one table.
_MOST = 50
_LINES = 256
_LONGEST = 4096
Out = Callable[[int, bytes], None]


class Job(NamedTuple):
    """One scheduled job. id names it in commands; fields are its schedule as crond takes it."""

    id: str
    command: str
    schedule: str
    fields: str
    suspended: bool = False


def parse(app_json: dict[str, Any]) -> list[Job]:
    """Jobs of an app.json, in Dokku's format. Raises DeviceError with the place."""
    listed = app_json.get("cron", [])
    if not isinstance(listed, list) or len(listed) > _MOST:
        raise DeviceError("app.json: cron: expected a list", f"of at most {_MOST} objects")
    found: dict[str, Job] = {}
    for place, one in enumerate(listed):
        where = f"app.json: cron[{place}]"
        command, when = (one.get("command"), one.get("schedule")) if isinstance(one, dict) else (None, None)
        if not isinstance(command, str) or not isinstance(when, str) or not command.strip():
            raise DeviceError(f"{where}: expected command and schedule", "two texts")
        if len(command) > _LONGEST or "\0" in command:
            raise DeviceError(f"{where}.command: too long, or with a NUL", "put it into a script")
        try:
            fields = schedule.fields(when)
        except DeviceError as error:
            raise DeviceError(f"{where}.schedule: {error.message}", error.hint) from None
        # The same as long as it is the same job, so that commands can name it over pushes.
        name = hashlib.sha256(f"{when}\0{command}".encode(errors="surrogateescape")).hexdigest()[:8]
        found[name] = Job(name, command, when, fields, one.get("maintenance") is True)
    return list(found.values())


def jobs(paths: Paths, app: str) -> list[Job]:
    """Jobs of the release that serves, with what cron:suspend and cron:resume made of them."""
    release = releases.current(paths, app)
    told = store.section(paths, app, "cron").get("jobs", {})
    listed = parse(release.app_json) if release is not None else []
    return [job._replace(suspended=bool(told.get(job.id, job.suspended))) for job in listed]


def find(paths: Paths, app: str, name: str) -> Job:
    """A job by its id. Raises DeviceError."""
    listed = jobs(paths, app)
    for job in listed:
        if job.id == name:
            return job
    raise DeviceError(f"{app} has no such job", f"there are: {' '.join(j.id for j in listed) or 'none'}")


def write(paths: Paths) -> None:
    """Bring crond to the jobs of all apps; it runs only while there is one.

    What is wrong is told on standard error: no app stops serving for a job's sake.
    """
    table = paths.run / "crontab"
    with store.alone(paths, "crontab"):
        text = _table(paths)
        try:
            if text:
                table.parent.mkdir(parents=True, exist_ok=True)
                if write_atomically(table, text, 0o600):
                    service.control(paths, SERVICE, b"tu")
            elif table.exists():
                table.unlink()
                # Started anew it goes down by itself, and says that it has nothing to do.
                service.control(paths, SERVICE, b"t")
        except DeviceError as error:
            # So that the next change tries it again.
            table.unlink(missing_ok=True)
            print(f"scheduled jobs do not run: {error.message} ({error.hint})", file=sys.stderr)


def _table(paths: Paths) -> str:
    lines = _renewal(paths)
    for app in store.apps(paths):
        try:
            if store.section(paths, app, "cron").get("maintenance"):
                continue
            # Names and ids are plain words. The command itself no shell of the device's ever sees.
            lines += [
                f"{job.fields} crew cron-run {app} {job.id} 2>&1 | logger -t {SERVICE}\n"
                for job in jobs(paths, app)
                if not job.suspended
            ]
        except DeviceError as error:
            print(f"{app}: no scheduled jobs: {error.message}", file=sys.stderr)
    if len(lines) > _LINES:
        print(f"of {len(lines)} scheduled jobs only {_LINES} run", file=sys.stderr)
    return "".join(lines[:_LINES])


def _renewal(paths: Paths) -> list[str]:
    """The job that renews certificates, not on all devices at the same time.

    Every three hours: a device may be off for most of the day, and crond makes up for nothing.
    """
    if not any(section.get("enabled") for section in store.sections(paths, "letsencrypt").values()):
        return []
    digest = hashlib.sha256(socket.gethostname().encode()).digest()
    hours = ",".join(str(hour) for hour in range(digest[1] % 3, 24, 3))
    when = f"{digest[0] % 60} {hours} * * *"
    return [f"{when} crew letsencrypt:auto-renew 2>&1 | logger -t {SERVICE}\n"]


def run(paths: Paths, app: str, name: str) -> int:
    """One run, for crond: what the job writes goes to standard output. A failure is an event."""
    from skiff_device.crew import events

    def out(stream: int, data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    app = store.must_exist(paths, app)
    if store.section(paths, app, "ps").get("stopped"):
        return 0
    job = find(paths, app, name)
    print(f"{app} {job.id}: {job.command}", flush=True)
    try:
        status = once(paths, app, job, out)
        reason = f"ended with status {status}" if status else ""
    except DeviceError as error:
        status, reason = 1, error.message
    if reason:
        print(f"{app} {job.id}: {reason}", flush=True)
        events.log(paths, Caller("cron"), f"{app}: job {job.id}: {reason}")
    return status


def once(paths: Paths, app: str, job: Job, out: Out) -> int:
    """Run a job in a container of its own; its status. Raises DeviceError when its last run goes on still."""
    from skiff_device.crew import oneoff
    from skiff_device.crew.engine import Engine

    engine = Engine(paths)
    # One name a job: the engine itself refuses a second one at the same time.
    container = f"{app}.cron.{job.id}"
    found = engine.inspect(container)
    if found is not None and found["State"].get("Running"):
        raise DeviceError(f"the last run of {job.id} goes on still", f"docker stop {container}")
    if found is not None:
        engine.remove(container)
    limit = float(store.section(paths, app, "cron").get("time_limit", TIME_LIMIT))
    late = DeviceError(f"{job.id} took longer than {limit:g} s and was ended", f"cron:set {app} time-limit")
    oneoff.create(engine, paths, app, containers.command_words(job.command), name=container, process="cron")
    try:
        with deadline.within(limit, late):
            engine.start(container)
            for stream, data in engine.logs(container, follow=True):
                out(stream, data)
            return engine.wait(container)
    finally:
        # What cannot be removed now goes at the next run.
        with suppress(DeviceError):
            engine.remove(container)
