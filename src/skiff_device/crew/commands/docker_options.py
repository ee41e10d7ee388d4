"""Further options of the engine's, for what no command of crew sets."""

from __future__ import annotations

from typing import Any

from skiff_device.common.errors import DeviceError
from skiff_device.crew import options, settings, store
from skiff_device.crew.command import Args, Context, Family

COMMANDS = Family("further options of the engine's for an app's containers")


def _section(context: Context, app: str, phase: str) -> list[str]:
    """Options of a phase, each in one word; they are kept as lists of words, never as a line for a shell."""
    return [
        " ".join(map(str, one)) for one in store.section(context.paths, app, "docker_options").get(phase, [])
    ]


def _change(context: Context, app: str, wanted: dict[str, list[str]], what: str, restart: bool) -> None:
    """Set the options of phases. A build's are for the next push; a new one-off container has new ones."""

    def change(section: store.Section) -> None:
        for phase, words in wanted.items():
            section.pop(phase, None)
            if words:
                section[phase] = [[word] for word in words]

    settings.change(context, app, "docker_options", change, what, restart and "deploy" in wanted)


@COMMANDS.command(
    "docker-options:add [--no-restart] APP PHASE[,…] OPTION…",
    "give the containers an option more; phases are build, deploy and run",
    access="deploy",
)
def add(context: Context, args: Args) -> int | None:
    """build takes --build-arg. What reaches beyond the app is for admins."""
    args.options_first()
    restart = not args.flag("--no-restart")
    app = context.app(args)
    phases = options.phases(args.take("the phase"))
    words = options.split(args.rest())
    wanted = {}
    for phase in phases:
        more = options.parse(words, phase, context.caller)
        wanted[phase] = list(dict.fromkeys([*_section(context, app, phase), *more]))
    _change(context, app, wanted, f"docker-options:add {','.join(phases)} {_shown(words)}", restart)
    return None


def _shown(words: list[str]) -> str:
    """Options without values, which may be secret: events are for every key."""
    return " ".join(word.partition("=")[0] for word in words if word.startswith("-"))


@COMMANDS.command(
    "docker-options:remove [--no-restart] APP PHASE[,…] OPTION…", "take an option away", access="deploy"
)
def remove(context: Context, args: Args) -> int | None:
    """In any spelling of it."""
    from skiff_device.crew.command import Caller

    args.options_first()
    restart = not args.flag("--no-restart")
    app = context.app(args)
    phases = options.phases(args.take("the phase"))
    words = options.split(args.rest())
    wanted = {}
    for phase in phases:
        # Whoever may deploy the app may take away what an admin gave it.
        gone = options.parse(words, phase, Caller("", "admin"))
        known = _section(context, app, phase)
        if not set(gone) & set(known):
            raise DeviceError(f"{app} has no such option for {phase}", f"docker-options:report {app}")
        wanted[phase] = [word for word in known if word not in gone]
    _change(context, app, wanted, f"docker-options:remove {','.join(phases)} {_shown(words)}", restart)
    return None


@COMMANDS.command(
    "docker-options:clear [--no-restart] APP [PHASE,…]", "take all options away", access="deploy"
)
def clear(context: Context, args: Args) -> int | None:
    """Of some phases, or of all."""
    restart = not args.flag("--no-restart")
    app = context.app(args)
    phases = options.phases(args.take_or(",".join(options.PHASES)))
    args.none_left()
    text = f"docker-options:clear {','.join(phases)}"
    _change(context, app, {phase: [] for phase in phases}, text, restart)
    return None


@COMMANDS.command("docker-options:report [--json] APP", "options of each phase", access="deploy")
def report(context: Context, args: Args) -> int | None:
    """As the engine gets them."""
    as_json = args.flag("--json")
    app = context.app(args)
    args.none_left()
    rows: dict[str, Any] = {phase: _section(context, app, phase) for phase in options.PHASES}
    context.report(rows, as_json, f"{app} docker options")
    return None
