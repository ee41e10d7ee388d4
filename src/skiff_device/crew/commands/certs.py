"""Certificates that are given: TLS for an app's domains."""

from __future__ import annotations

from typing import Any

from skiff_device.common.errors import DeviceError
from skiff_device.crew import names, store
from skiff_device.crew.command import Args, Context, Family

COMMANDS = Family("certificates of apps, for HTTPS")


def _not_renewed(context: Context, app: str) -> None:
    from skiff_device.crew import acme

    if store.section(context.paths, app, acme.SECTION).get("enabled"):
        raise DeviceError(f"the certificate of {app} is letsencrypt's", f"letsencrypt:disable {app}")


@COMMANDS.command(
    "certs:add APP", "take a certificate and its key from stdin: a tar of both, or both as PEM", "deploy"
)
def add(context: Context, args: Args) -> int | None:
    """`tar c server.crt server.key | ssh … certs:add APP`. HTTPS is there at once, and HTTP leads to it."""
    from skiff_device.crew import certs, events

    app = context.app(args)
    args.none_left()
    _not_renewed(context, app)
    chain, key = certs.pair(context.stdin.read(certs.LIMIT + 1))
    certs.install(context.paths, app, chain, key, context.note)
    events.log(context.paths, context.caller, f"{app}: certs:add")
    return None


COMMANDS.aliases("certs:update", "certs:add")


@COMMANDS.command("certs:generate APP [DOMAIN…]", "make a certificate that nobody vouches for", "deploy")
def generate(context: Context, args: Args) -> int | None:
    """For tests: browsers warn of it. By default for the app's domains."""
    from skiff_device.crew import certs, events, router

    app = context.app(args)
    domains = [names.domain(word) for word in args.rest()] or router.domains(context.paths, app)
    _not_renewed(context, app)
    if not domains:
        raise DeviceError(f"{app} has no domain", f"usage: {args.usage}")
    key = certs.make_key()
    certs.install(context.paths, app, certs.self_signed(context.paths, key, domains), key, context.note)
    events.log(context.paths, context.caller, f"{app}: certs:generate {' '.join(domains)}")
    return None


@COMMANDS.command("certs:remove APP", "plain HTTP again", access="deploy")
def remove(context: Context, args: Args) -> int | None:
    """The certificate and its key are deleted."""
    from skiff_device.crew import certs, events, router

    app = context.app(args)
    args.none_left()
    _not_renewed(context, app)
    if not router.has_certificate(context.paths, app):
        raise DeviceError(f"{app} has no certificate", f"certs:add {app}")
    certs.remove(context.paths, app, context.note)
    events.log(context.paths, context.caller, f"{app}: certs:remove")
    return None


@COMMANDS.command("certs:report [--json] APP", "what the certificate of an app says", access="read")
def report(context: Context, args: Args) -> int | None:
    """Names, who vouches for it, and until when."""
    from skiff_device.crew import acme, certs

    as_json = args.flag("--json")
    app = context.app(args)
    args.none_left()
    found = certs.info(context.paths, app)
    rows: dict[str, Any] = {
        "certificate": found is not None,
        "letsencrypt": bool(store.section(context.paths, app, acme.SECTION).get("enabled")),
    }
    if found is not None:
        rows |= {
            "domains": list(found.domains),
            "subject": found.subject,
            "issuer": found.issuer,
            "begins": found.begins.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "ends": found.ends.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    context.report(rows, as_json, f"{app} certificate")
    return None
