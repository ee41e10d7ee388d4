"""Networks: who of the apps reaches whom, besides the network `crew` that all are on."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from skiff_device.common.errors import DeviceError
from skiff_device.crew import containers, names, settings, store
from skiff_device.crew.command import Args, Context, Family

if TYPE_CHECKING:
    from skiff_device.crew.engine import Engine

COMMANDS = Family("networks of some apps alone")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_.-]{0,38}[a-z0-9])?")
_RESERVED = ("bridge", "default", "host", "none", "podman", containers.NETWORK)
# Dokku has this name for networks that a container joins before it starts.
_ATTACH = "attach-post-create"


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise DeviceError(f"{names.shown(text)!r} is no name of a network", "small letters, digits, _ . -")
    if text in _RESERVED:
        raise DeviceError(f"the network {text} is the engine's or crew's own", "choose another name")
    return text


def _engine(context: Context) -> Engine:
    from skiff_device.crew.engine import Engine

    return Engine(context.paths)


def _ours(engine: Engine, name: str) -> dict[str, object]:
    """A network that crew made. Raises DeviceError."""
    found = engine.network(_name(name))
    if found is None or containers.NETWORK_LABEL not in (found.get("Labels") or {}):
        raise DeviceError(f"there is no network {name} of crew's", "network:list shows all")
    return found


def _apps_on(context: Context, name: str) -> list[str]:
    return [
        app
        for app in store.apps(context.paths)
        if name in store.section(context.paths, app, "network").get("attach", [])
    ]


@COMMANDS.command("network:create NAME", "make a network")
def create(context: Context, args: Args) -> int | None:
    """A bridge with addresses of the engine's choice."""
    from skiff_device.crew import events

    name = _name(args.take("the name"))
    args.none_left()
    engine = _engine(context)
    if engine.network(name) is not None:
        raise DeviceError(f"there is a network {name} already", "choose another name")
    engine.create_network(name, labels={containers.NETWORK_LABEL: name})
    events.log(context.paths, context.caller, f"network:create {name}")
    return None


@COMMANDS.command("network:destroy NAME", "remove a network that no app is on")
def destroy(context: Context, args: Args) -> int | None:
    """Only one that network:create made."""
    from skiff_device.crew import events

    name = args.take("the name")
    args.none_left()
    engine = _engine(context)
    _ours(engine, name)
    if apps := _apps_on(context, name):
        raise DeviceError(f"{', '.join(apps)} must leave it first", f"network:set {apps[0]} {_ATTACH}")
    try:
        engine.remove_network(name)
    except DeviceError as error:
        hint = "containers of an older release leave it within a minute"
        raise DeviceError(f"the network {name} is in use: {error.message}", hint) from None
    events.log(context.paths, context.caller, f"network:destroy {name}")
    return None


@COMMANDS.command("network:list [--json]", "networks that there are for apps", access="read")
def listing(context: Context, args: Args) -> int | None:
    """crew is the one that all apps are on."""
    as_json = args.flag("--json")
    args.none_left()
    found = sorted(
        str(one["Name"])
        for one in _engine(context).networks()
        if one.get("Name") == containers.NETWORK or containers.NETWORK_LABEL in (one.get("Labels") or {})
    )
    if as_json:
        context.say(json.dumps(found))
    else:
        for name in found:
            context.say(name)
    return None


@COMMANDS.command("network:exists NAME", "status 0 when there is such a network", access="read")
def exists(context: Context, args: Args) -> int | None:
    """For scripts."""
    name = _name(args.take("the name"))
    args.none_left()
    if _engine(context).network(name) is not None:
        return 0
    context.note(f"there is no network {name}")
    return 1


@COMMANDS.command("network:info [--json] NAME", "addresses of a network, and the apps on it", access="read")
def info(context: Context, args: Args) -> int | None:
    """As the engine knows it."""
    as_json = args.flag("--json")
    name = args.take("the name")
    args.none_left()
    found = _ours(_engine(context), name)
    ipam = found.get("IPAM")
    config = ipam.get("Config") if isinstance(ipam, dict) else None
    rows = {
        "driver": found.get("Driver", ""),
        "subnets": [str(one.get("Subnet", "")) for one in config or []],
        "apps": _apps_on(context, name),
    }
    context.report(rows, as_json, name)
    return None


@COMMANDS.command(
    f"network:set [--no-restart] APP {_ATTACH} [NETWORK…]",
    "put the containers on networks; without one on none",
)
def set_(context: Context, args: Args) -> int | None:
    """Besides the network crew. For admins, for a network is how other apps keep to themselves."""
    restart = not args.flag("--no-restart")
    app = context.app(args)
    if (word := args.take(_ATTACH)) != _ATTACH:
        raise DeviceError(f"{names.shown(word)!r} cannot be set", _ATTACH)
    wanted = [_name(name) for name in args.rest()]
    engine = _engine(context)
    for name in wanted:
        _ours(engine, name)

    def change(section: store.Section) -> None:
        section.pop("attach", None)
        if wanted:
            section["attach"] = list(dict.fromkeys(wanted))

    settings.change(context, app, "network", change, f"network:set {_ATTACH} {' '.join(wanted)}", restart)
    return None


@COMMANDS.command("network:rebuild APP", "put the containers on their networks anew", access="deploy")
def rebuild(context: Context, args: Args) -> int | None:
    """As ps:restart does."""
    from skiff_device.crew import deploy, events

    app = context.app(args)
    args.none_left()
    deploy.redeploy(context.paths, app, "network:rebuild", context.note)
    events.log(context.paths, context.caller, f"{app}: network:rebuild")
    return None


@COMMANDS.command("network:report [--json] APP", "networks of an app, and its addresses", access="read")
def report(context: Context, args: Args) -> int | None:
    """Those on the network crew."""
    from skiff_device.crew import release

    as_json = args.flag("--json")
    app = context.app(args)
    args.none_left()
    now = release.current(context.paths, app)
    rows = {
        "networks": [containers.NETWORK, *store.section(context.paths, app, "network").get("attach", [])],
        "addresses": [one.address for one in (now.containers if now is not None else ())],
    }
    context.report(rows, as_json, f"{app} network")
    return None
