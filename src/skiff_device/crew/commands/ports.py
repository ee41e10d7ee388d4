"""Which ports of the device lead to which port of an app's web process."""

from __future__ import annotations

from skiff_device.common.errors import DeviceError
from skiff_device.crew import names, store
from skiff_device.crew.command import Args, Context, Family

COMMANDS = Family("ports of the device, and of the container behind them")
# The router is not root; others may have ports from here on (net.ipv4.ip_unprivileged_port_start).
_LOWEST = 80
# Mappings of one app: nginx has a socket or two for each, and 1024 in all.
_MOST = 32
_USUAL = {80: "http", 443: "https"}


def _parse(word: str) -> list[str | int]:
    fields = word.split(":")
    if len(fields) == 2:
        fields = ["http", *fields]
    if len(fields) != 3 or fields[0] not in ("http", "https"):
        raise DeviceError(
            f"{names.shown(word)!r} is no mapping", "SCHEME:PORT:CONTAINER_PORT, such as http:80:5000"
        )
    host = names.number(fields[1], "the device's port", _LOWEST, 65535)
    return [fields[0], host, names.number(fields[2], "the container's port", 1, 65535)]


def _must_fit(context: Context, app: str, wanted: list[list[str | int]]) -> None:
    """See that the router can have these beside what other apps have. Raises DeviceError."""
    from skiff_device.crew import router

    listed = [int(host) for _, host, _ in wanted]
    twice = [host for host in listed if listed.count(host) > 1]
    if twice:
        raise DeviceError(f"port {twice[0]} is there twice", "a port of the device leads to one place")
    if len(listed) > _MOST:
        raise DeviceError(f"{len(listed)} ports", f"an app has at most {_MOST}")
    # To nginx HTTPS is a matter of the port, not of the app.
    schemes = {
        int(host): str(scheme)
        for other, section in store.sections(context.paths, "ports").items()
        for scheme, host, _ in section.get("map", [])
        if other != app
    } | _USUAL
    fresh = [one for one in wanted if one not in _given(context, app)]
    for scheme, host, _ in fresh:
        if schemes.get(int(host), scheme) != scheme:
            raise DeviceError(f"port {host} is for {schemes[int(host)]}", f"another port for {scheme}")
    for port in router.taken(context.paths, {int(host) for _, host, _ in fresh}):
        raise DeviceError(f"another program has port {port}", "choose another one")


def _apply(context: Context, app: str, wanted: list[list[str | int]], text: str) -> None:
    """Have these mappings. Raises DeviceError; those of before are in force then."""
    from skiff_device.crew import events, release, router, settings

    now = release.current(context.paths, app)
    port = router.container_port(context.paths, app, now.exposed) if now else 0

    def change(section: store.Section) -> None:
        section.clear()
        if wanted:
            section["map"] = wanted

    def back() -> None:
        store.change(context.paths, app, "ports", lambda part: settings.undo(part, before, after))
        router.apply(context.paths)

    with store.alone(context.paths, "ports"):
        _must_fit(context, app, wanted)
        before = store.section(context.paths, app, "ports")
        after = store.change(context.paths, app, "ports", change)
    if now is not None and router.container_port(context.paths, app, now.exposed) != port:
        # PORT tells the app where to listen.
        settings.put_into_effect(context, app, text, True, back)
        return
    if reason := router.apply(context.paths, context.note).get(app):
        back()
        raise DeviceError(f"the router does not take it: {reason}", "the old ports stay")
    events.log(context.paths, context.caller, f"{app}: {text}")


def _given(context: Context, app: str) -> list[list[str | int]]:
    return [list(one) for one in store.section(context.paths, app, "ports").get("map", [])]


@COMMANDS.command("ports:list [--json] APP", "what is published", access="read")
def listing(context: Context, args: Args) -> int | None:
    """SCHEME:PORT:CONTAINER_PORT."""
    from skiff_device.crew import release, router

    as_json = args.flag("--json")
    app = context.app(args)
    args.none_left()
    now = release.current(context.paths, app)
    found = router.targets(context.paths, app, now.exposed if now else ())
    context.report({f"{scheme}:{host}": inside for scheme, host, inside in found}, as_json, f"{app} ports")
    return None


@COMMANDS.command("ports:set APP SCHEME:PORT:CONTAINER_PORT…", "these mappings and no other", access="deploy")
def set_(context: Context, args: Args) -> int | None:
    """The first one's container port is what the app finds in PORT."""
    app = context.app(args)
    wanted = [_parse(word) for word in args.rest()]
    if not wanted:
        raise DeviceError("a mapping is missing", f"usage: {args.usage}")
    _apply(context, app, wanted, "ports:set")
    return None


@COMMANDS.command("ports:add APP SCHEME:PORT:CONTAINER_PORT…", "more mappings", access="deploy")
def add(context: Context, args: Args) -> int | None:
    """One of the same port is replaced."""
    app = context.app(args)
    more = [_parse(word) for word in args.rest()]
    ports = {one[1] for one in more}
    _apply(context, app, [one for one in _given(context, app) if one[1] not in ports] + more, "ports:add")
    return None


@COMMANDS.command("ports:remove APP PORT…", "take mappings of the device's ports away", access="deploy")
def remove(context: Context, args: Args) -> int | None:
    """Those that are not there are no error."""
    app = context.app(args)
    gone = {names.number(word, "port", 1, 65535) for word in args.rest()}
    _apply(context, app, [one for one in _given(context, app) if one[1] not in gone], "ports:remove")
    return None


@COMMANDS.command("ports:clear APP", "port 80, and what the image exposes", access="deploy")
def clear(context: Context, args: Args) -> int | None:
    """As at the beginning."""
    app = context.app(args)
    args.none_left()
    _apply(context, app, [], "ports:clear")
    return None
