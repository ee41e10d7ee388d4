"""`skiff discover`: the devices on the local network."""

from __future__ import annotations

import click

from skiff.cli.common import print_json
from skiff.cli.options import Seconds, examples, json_option
from skiff.fleet import discover


@click.command(
    epilog=examples(
        "skiff discover                      devices that announce themselves here",
        "skiff discover --toml >hosts.toml   an inventory of them, for `skiff fleet`",
        "skiff discover --all                also other systems with SSH",
    )
)
@click.option(
    "--seconds", type=Seconds(min=0), default=3.0, show_default=True, metavar="N", help="How long to listen."
)
@click.option(
    "--interface", multiple=True, metavar="ADDRESS", help="Only where this machine has that address."
)
@click.option("--all", "every", is_flag=True, help="Show other systems too.")
@click.option("--toml", "as_toml", is_flag=True, help="Print an inventory.")
@json_option
def command(seconds: float, interface: tuple[str, ...], every: bool, as_toml: bool, as_json: bool) -> None:
    """Find devices on the local network, by mDNS. Needs the Python package zeroconf."""
    found = [one for one in discover.discover(seconds, interface) if every or one.version]
    if as_json:
        print_json(found)
    elif as_toml:
        click.echo("hosts = [" + "".join(f'\n    "{one.name}",' for one in found) + "\n]")
    else:
        if not found:
            more = "" if every else ", --all shows other systems too"
            click.echo(
                f"no device announced itself within {seconds:g} s; --seconds N listens longer{more}", err=True
            )
        for one in found:
            version = f"Skiff {one.version}" if one.version else ""
            click.echo(f"{one.name:24} {', '.join(one.addresses)}  {version}".rstrip())
