"""What the containers of an app write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skiff_device.common.errors import DeviceError
from skiff_device.crew import names
from skiff_device.crew.command import Args, Context, Family

if TYPE_CHECKING:
    from skiff_device.crew.logs import Line

COMMANDS = Family("what the containers of an app write")


@COMMANDS.command(
    "logs [-t] [-n COUNT] [-p PROCESS[.N]] [-q] APP", "the last lines of all its containers", "read"
)
def logs(context: Context, args: Args) -> int | None:
    """-t goes on with new ones, also of later releases; -q leaves time and process out."""
    from skiff_device.crew import logs, release
    from skiff_device.crew.engine import Engine

    follow, quiet = args.flag("-t", "--tail"), args.flag("-q", "--quiet")
    count = str(names.number(args.option("-n", "--num") or "100", "-n", 1, 1_000_000))
    process = _process(args.option("-p", "--ps") or "")
    app = context.app(args)
    args.none_left()
    engine = Engine(context.paths)

    def show(line: Line) -> None:
        head = b"" if quiet else f"{line.time} {app}[{line.mark}]: ".encode()
        context.raw(head + line.text + b"\n")

    if (now := release.current(context.paths, app)) is not None and now.services:
        from skiff_device.crew import service_logs

        for line in service_logs.lines(engine, app, now, process, follow, count):
            show(line)
        return None
    wanted = logs.sources(engine, context.paths, app, process)
    if not wanted:
        raise DeviceError(f"{app} has no such container", f"ps:report {app}")
    if follow:
        logs.Follower(engine, lambda: logs.sources(engine, context.paths, app, process)).run(count, show)
    else:
        for line in logs.last(engine, wanted, count):
            show(line)
    return None


def _process(text: str) -> str:
    name, dot, index = text.partition(".")
    if text:
        names.process(name)
        if dot:
            names.number(index, "the container", 1, 999_999)
    return text
