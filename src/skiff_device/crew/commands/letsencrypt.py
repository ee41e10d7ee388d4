"""Certificates that are fetched and renewed: by ACME, from Let's Encrypt or another authority."""

from __future__ import annotations

from skiff_device.common.errors import DeviceError
from skiff_device.crew import store
from skiff_device.crew.command import Args, Context, Family

COMMANDS = Family("certificates fetched from Let's Encrypt, and renewed")


@COMMANDS.command(
    "letsencrypt:enable APP", "fetch a certificate for the app's domains, and renew it", "deploy"
)
def enable(context: Context, args: Args) -> int | None:
    """They must lead to this device, by port 80."""
    from skiff_device.crew import acme, crontab, events, router

    app = context.app(args)
    args.none_left()
    acme.domains(context.paths, app)
    if router.has_certificate(context.paths, app) and app not in acme.enabled(context.paths):
        raise DeviceError(f"{app} has a certificate that was given", f"certs:remove {app}")
    before = acme.switch(context.paths, app, True)
    try:
        acme.obtain(context.paths, app, context.note)
    except BaseException:
        acme.switch(context.paths, app, before)
        raise
    crontab.write(context.paths)
    events.log(context.paths, context.caller, f"{app}: letsencrypt:enable")
    return None


@COMMANDS.command("letsencrypt:disable APP", "renew no more, and plain HTTP again", access="deploy")
def disable(context: Context, args: Args) -> int | None:
    """The certificate is deleted."""
    from skiff_device.crew import acme, certs, crontab, events

    app = context.app(args)
    args.none_left()
    if acme.switch(context.paths, app, False):
        certs.remove(context.paths, app, context.note)
        crontab.write(context.paths)
        events.log(context.paths, context.caller, f"{app}: letsencrypt:disable")
    return None


@COMMANDS.command("letsencrypt:auto-renew [--force] [NAME]", "renew what ends soon: of one app, or of all")
def auto_renew(context: Context, args: Args) -> int | None:
    """Where less than a third of the time is left, or the domains are others. A job does it every day."""
    from skiff_device.crew import acme, events

    force = args.flag("--force")
    word = args.take_or("")
    args.none_left()
    listed = acme.enabled(context.paths)
    if word and store.must_exist(context.paths, word) not in listed:
        raise DeviceError(f"{word} is not renewed", f"letsencrypt:enable {word}")
    status = 0
    for app in [word] if word else listed:
        try:
            if force or acme.is_due(context.paths, app):
                acme.obtain(context.paths, app, context.note)
                events.log(context.paths, context.caller, f"{app}: certificate renewed")
        except DeviceError as error:
            context.note(f"{app}: {error.message}")
            events.log(context.paths, context.caller, f"{app}: certificate not renewed: {error.message}")
            status = 1
    return status


@COMMANDS.command(
    "letsencrypt:list", "apps whose certificates are renewed, and when these end", access="read"
)
def listing(context: Context, args: Args) -> int | None:
    """One a line."""
    from skiff_device.crew import acme, certs

    args.none_left()
    for app in acme.enabled(context.paths):
        found = certs.info(context.paths, app)
        context.say(f"{app}  {found.ends.strftime('%Y-%m-%dT%H:%M:%SZ') if found else 'none'}")
    return None


@COMMANDS.command("letsencrypt:active APP", "status 0 when its certificate is renewed", access="read")
def active(context: Context, args: Args) -> int | None:
    """For scripts."""
    from skiff_device.crew import acme

    app = context.app(args)
    args.none_left()
    return 0 if app in acme.enabled(context.paths) else 1


@COMMANDS.command(
    "letsencrypt:set NAME|--global server [production|staging|ADDRESS]", "which authority is asked"
)
def set_(context: Context, args: Args) -> int | None:
    """Another one that speaks ACME by the address of its directory. Counts from the next request on."""
    from skiff_device.crew import acme, events

    app = None if args.flag("--global") else store.must_exist(context.paths, args.take("the app"))
    if args.take("server") != "server":
        raise DeviceError("only server can be set", f"usage: {args.usage}")
    word = args.take_or("")
    args.none_left()
    if word:
        acme.server(word)

    def change(section: store.Section) -> None:
        section.pop("server", None)
        if word:
            section["server"] = word

    store.change(context.paths, app, acme.SECTION, change)
    events.log(context.paths, context.caller, f"{app or 'all apps'}: letsencrypt:set server {word}".rstrip())
    return None
