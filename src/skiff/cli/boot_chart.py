"""`skiff boot-chart`: what a boot's time went into."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import click

from skiff.cli.common import print_json, write_picture
from skiff.cli.options import examples, json_option, workspace_option
from skiff.cli.reach import Way, way_options
from skiff.machine.boot_chart import boot_svg, longest
from skiff.machine.boot_log import read_boot
from skiff.model.workspace import Workspace


@click.command(
    epilog=examples(
        "skiff boot-chart --svg boot.svg          of the workspace's machine, as a picture",
        "skiff boot-chart root@10.0.0.5           of a device, as a table",
        "skiff boot-chart --log dmesg.txt         of a log that was kept",
    )
)
@click.argument("device", required=False)
@click.option("--log", type=click.File(errors="replace"), help="Read this kernel log.")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Write a picture to this file.")
@way_options
@workspace_option
@json_option
def command(
    device: str | None, log: TextIO | None, svg: Path | None, way: Way, workspace: Workspace, as_json: bool
) -> None:
    """Show what a boot's time went into: kernel, init, network, SSH, persist, engine.

    The device must have been started with skiff.trace on the kernel's command line; with initcall_debug
    the kernel's slow drivers are shown too. Times are seconds since the kernel's start.
    """
    boot = read_boot(log.read() if log is not None else way.to(device, workspace).run(["dmesg"]).text)
    if svg is not None:
        write_picture(svg, boot_svg(boot, f"boot of {device or workspace.name}"))
    if as_json:
        print_json(boot)
        return
    click.echo(f"{'from':>9} {'to':>9} {'took':>9}  what")
    spans = [*boot.lanes, *boot.steps, *longest(boot.initcalls)]
    for span in sorted(spans, key=lambda one: (one.start, -one.end)):
        what = span.lane if span.name == span.lane else f"  {span.lane}: {span.name}"
        click.echo(f"{span.start:7.2f} s {span.end:7.2f} s {span.end - span.start:7.2f} s  {what}")
