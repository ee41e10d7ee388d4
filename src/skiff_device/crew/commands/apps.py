"""Apps: made, listed, renamed, cloned, locked and destroyed."""

from __future__ import annotations

import json
import time
from typing import Any

from skiff_device.common.errors import DeviceError
from skiff_device.crew import names, store
from skiff_device.crew.command import Args, Context, Family

COMMANDS = Family("apps: made, listed, renamed, locked, destroyed")


def _log(context: Context, text: str) -> None:
    from skiff_device.crew import events

    events.log(context.paths, context.caller, text)


@COMMANDS.command("apps:create NAME", "make an app; a first push does it too")
def create(context: Context, args: Args) -> int | None:
    """Empty, until something is pushed."""
    name = names.app(args.take("the name"))
    args.none_left()
    store.create(context.paths, name)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    store.change(context.paths, name, "app", lambda section: section.update(created=now))
    _log(context, f"{name}: made")
    context.say(f"{name} is there: git push crew@DEVICE:{name} main")
    return None


@COMMANDS.command("apps:list [--json]", "all apps", access="read")
def listing(context: Context, args: Args) -> int | None:
    """Names, sorted."""
    as_json = args.flag("--json")
    args.none_left()
    found = store.apps(context.paths)
    if as_json:
        context.say(json.dumps(found))
    else:
        for app in found:
            context.say(app)
    return None


@COMMANDS.command("apps:exists NAME", "status 0 when there is such an app", access="read")
def exists(context: Context, args: Args) -> int | None:
    """For scripts."""
    name = names.app(args.take("the name"))
    args.none_left()
    if store.exists(context.paths, name):
        return 0
    context.note(f"there is no app {name}")
    return 1


@COMMANDS.command("apps:destroy [--force] APP", "remove an app, its containers, images and settings")
def destroy(context: Context, args: Args) -> int | None:
    """Folders under storage stay. Without --force the name is asked for once more."""
    from skiff_device.crew import crontab, deploy, hooks

    force = args.flag("--force")
    app = context.app(args)
    args.none_left()
    if force:
        store.forget_damaged(context.paths, app)
    _not_locked(context, app)
    if not force:
        context.note(f"this removes {app} with all its releases; type its name to go on")
        if context.stdin.readline(200).decode(errors="replace").strip() != app:
            raise DeviceError("nothing was removed", "apps:destroy --force does not ask")
    hooks.trigger(context.paths, "pre-delete", app, [], context.note)
    deploy.destroy(context.paths, app)
    crontab.write(context.paths)
    hooks.trigger(context.paths, "post-delete", app, [], context.note)
    _log(context, f"{app}: destroyed")
    return None


@COMMANDS.command("apps:rename APP NAME", "give an app another name")
def rename(context: Context, args: Args) -> int | None:
    """Its containers are made anew under it. Deploy keys for the app are for it under its new name."""
    from skiff_device.crew import crontab, deploy

    app = context.app(args)
    name = names.app(args.take("the new name"))
    args.none_left()
    _not_locked(context, app)
    deploy.rename(context.paths, app, name, context.note)
    crontab.write(context.paths)
    _log(context, f"{app}: renamed to {name}")
    return None


@COMMANDS.command("apps:clone [--skip-deploy] APP NAME", "another app with the same image and settings")
def clone(context: Context, args: Args) -> int | None:
    """Domains are not taken over, for a name leads to one app."""
    from skiff_device.crew import deploy, release

    skip = args.flag("--skip-deploy")
    app = context.app(args)
    name = names.app(args.take("the new name"))
    args.none_left()
    old = release.current(context.paths, app)
    store.create(context.paths, name)
    for section in (
        "build",
        "ps",
        "ports",
        "proxy",
        "storage",
        "docker_options",
        "network",
        "checks",
        "resource",
    ):
        found = store.section(context.paths, app, section)
        if found:
            store.change(context.paths, name, section, lambda part, found=found: part.update(found))  # type: ignore[misc]
    variables = store.env(context.paths, app)
    store.change_env(context.paths, name, lambda env: env.update(variables))
    _log(context, f"{name}: cloned from {app}")
    if old is not None and not skip:
        deploy.deploy(
            context.paths, name, old.image, f"cloned from {app}", commit=old.commit, processes=old.processes,
            app_json=old.app_json, checks=old.checks, say=context.note,
        )  # fmt: skip
    return None


def _set(context: Context, args: Args, key: str, value: bool) -> str:
    app = context.app(args)
    args.none_left()

    def change(section: dict[str, Any]) -> None:
        section.pop(key, None)
        if value:
            section[key] = True

    store.change(context.paths, app, "app", change)
    return app


@COMMANDS.command("apps:lock APP", "refuse pushes and removal")
def lock(context: Context, args: Args) -> int | None:
    """Until apps:unlock."""
    _log(context, f"{_set(context, args, 'locked', True)}: locked")
    return None


@COMMANDS.command("apps:unlock APP", "allow pushes again")
def unlock(context: Context, args: Args) -> int | None:
    """The opposite of apps:lock."""
    _log(context, f"{_set(context, args, 'locked', False)}: unlocked")
    return None


@COMMANDS.command(
    "apps:set [--cluster|--no-cluster] [--place CONSTRAINTS] [--global TYPES] APP",
    "run an app on the cluster",
)
def set_(context: Context, args: Args) -> int | None:
    """Where it may run, and which processes have one container on each device; with commas between."""
    from skiff_device.crew import cluster, service_spec, settings

    on, off = args.flag("--cluster"), args.flag("--no-cluster")
    place, everywhere = args.option("--place"), args.option("--global")
    app = context.app(args)
    args.none_left()
    if (on and off) or not (on or off or place is not None or everywhere is not None):
        raise DeviceError("what is to be set?", f"usage: {args.usage}")
    if on:
        cluster.manager(context.paths)
        service_spec.unfit(context.paths, app)
    if off:
        service_spec.must_leave_nothing(context.paths, app)

    def change(section: dict[str, Any]) -> None:
        if on:
            section["on"] = True
        if off:
            section.pop("on", None)
        if place is not None:
            section["constraints"] = service_spec.constraints(place)
        if everywhere is not None:
            section["global"] = [names.process(word) for word in everywhere.split(",") if word]

    matters = on or off or service_spec.is_clustered(context.paths, app)
    settings.change(context, app, "cluster", change, "on the cluster" if on else "apps:set", restart=matters)
    return None


@COMMANDS.command("apps:core [--off] APP", "pushes to this app become the environment of the user core")
def core(context: Context, args: Args) -> int | None:
    """As those to `core@DEVICE:env` do; the app made by them is marked already."""
    on = not args.flag("--off")
    _log(context, f"{_set(context, args, 'core', on)}: core {'on' if on else 'off'}")
    return None


@COMMANDS.command("apps:report [--json] APP", "what is known of an app", access="read")
def report(context: Context, args: Args) -> int | None:
    """One screen."""
    from skiff_device.crew import release, router

    as_json = args.flag("--json")
    app = context.app(args)
    args.none_left()
    section = store.section(context.paths, app, "app")
    now = release.current(context.paths, app)
    rows: dict[str, Any] = {
        "created": section.get("created", ""),
        "locked": bool(section.get("locked")),
        "core": bool(section.get("core")),
        "release": now.number if now else 0,
        "deployed": now.created if now else "",
        "commit": now.commit if now else "",
        "reason": now.reason if now else "",
        "stopped": bool(store.section(context.paths, app, "ps").get("stopped")),
        "urls": router.urls(context.paths, app),
    }
    context.report(rows, as_json, f"{app} app")
    return None


def _not_locked(context: Context, app: str) -> None:
    if store.section(context.paths, app, "app").get("locked"):
        raise DeviceError(f"{app} is locked", f"apps:unlock {app}")
