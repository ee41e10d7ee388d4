"""`skiff audit`: known security holes of the packages in the image."""

from __future__ import annotations

import click

from skiff.builders.debian.archive import SUITE
from skiff.cli.common import print_json
from skiff.cli.options import examples, json_option, workspace_option
from skiff.host.dirs import cache_dir
from skiff.host.tracker import TRACKER, read
from skiff.host.workspace import load_lock
from skiff.image.audit import audit, of_image, of_packages, unknown
from skiff.model.workspace import Workspace


@click.command(
    epilog=examples(
        "skiff audit                         the image, against the tracker of today",
        "skiff audit --lock                  the packages of lock.json",
        "skiff audit --data tracker.json     against a copy of the tracker's data",
        "skiff audit --json                  for a program",
    )
)
@workspace_option
@click.option("--lock", "of_locked", is_flag=True, help="Look at the workspace's lock instead of its image.")
@click.option(
    "--data", default=TRACKER, metavar="FILE|URL", help="The tracker's data. [default: Debian's web page]"
)
@json_option
def command(workspace: Workspace, as_json: bool, of_locked: bool, data: str) -> None:
    """Look the packages of the image up in Debian's security tracker.

    Exit status 1 if there is a newer version without a hole that a package has: build again, and update the
    devices. Holes that Debian has not mended yet are listed, and change nothing in the status. It is 2 if
    the data could not be had: then nothing is known.
    """
    installed = of_packages(load_lock(workspace).in_image) if of_locked else of_image(workspace.image)
    found = audit(installed, read(data, cache_dir()), SUITE)
    if as_json:
        print_json(found)
    else:
        for one in found:
            remedy = f"mended in {one.fixed}" if one.fixed else "not mended yet"
            click.echo(f"{one.hole:18} {one.source:20} {one.version:24} {remedy}")
    mended = sum(bool(one.fixed) for one in found)
    click.echo(
        f"{len(installed)} source packages: {mended} holes that a newer version mends, "
        f"{len(found) - mended} that Debian has not mended yet",
        err=True,
    )
    others = 0 if of_locked else unknown(workspace.image)
    if others:
        click.echo(f"not looked up, as they are not Debian's: {others} packages (`skiff sbom`)", err=True)
    if mended:
        raise click.exceptions.Exit(1)
