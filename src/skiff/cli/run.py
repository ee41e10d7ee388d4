"""`skiff run`: build the image and boot it in a virtual machine."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import click
import msgspec

from skiff import pipeline
from skiff.cli.build import build_image, build_options
from skiff.cli.common import print_json, resolve_recipe
from skiff.cli.options import (
    Choice,
    Seconds,
    Verb,
    examples,
    json_option,
    recipe_options,
    ui_option,
    with_options,
    workspace_option,
)
from skiff.cli.status import print_lines, verb_form
from skiff.host.dirs import cache_dir
from skiff.host.files import at_home
from skiff.host.lock import hold
from skiff.host.ui import Ui
from skiff.image.disk import check_loader
from skiff.machine import foreground, kvm, report
from skiff.machine.bringup import Wish, bring_up, ended_on_failure, ensure_started
from skiff.machine.files import Disk, MachineFiles
from skiff.machine.qemu import Options
from skiff.machine.ssh import usable_keys
from skiff.model.firmware import Boot
from skiff.model.image import Image
from skiff.model.recipe import Recipe
from skiff.model.workspace import Workspace


def _mebibytes(ctx: click.Context, param: click.Parameter, value: str | None) -> int:
    """A size in MiB: `512`, `512M` or `2G`; 0 for none."""
    if value is None:
        return 0
    match = re.fullmatch(r"(\d+)([MG]?)", value.upper())
    size = int(match[1]) * (1024 if match[2] == "G" else 1) if match else 0
    if size < 32:
        raise click.BadParameter(f"{value!r} is not a size of 32 MiB or more, as 512, 512M or 2G")
    return size


def _disks(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[Disk, ...]:
    return tuple(Disk(at_home(text.removesuffix(",ro")).absolute(), text.endswith(",ro")) for text in value)


_OPTIONS = (
    click.option(
        "-d", "--detach", is_flag=True, help="Run in the background; return when the machine answers."
    ),
    click.option("-m", "--memory", callback=_mebibytes, metavar="SIZE", help="Memory in MiB, or as 2G."),
    click.option("--cpus", type=click.IntRange(0, 64), default=0, help="Virtual CPUs."),
    click.option(
        "--ssh-port",
        type=click.IntRange(0, 65535),
        default=0,
        help="Port of this machine that leads to SSH. [default: a free one]",
    ),
    click.option("--console", is_flag=True, help="Join the console with the keyboard; Ctrl-] leaves it."),
    click.option("--no-persist", is_flag=True, help="Without the persist disk: nothing outlives the run."),
    click.option(
        "--disk",
        "disks",
        multiple=True,
        callback=_disks,
        metavar="FILE[,ro]",
        help="One more disk (raw image).",
    ),
    click.option(
        "--append", multiple=True, metavar="WORD", help="One more word for the kernel's command line."
    ),
    click.option("--disk-boot", is_flag=True, help="Start from the disk image, by firmware as a board does."),
    click.option(
        "--accel",
        type=click.Choice(["auto", "kvm", "tcg"]),
        default="auto",
        help="auto takes KVM when it truly works, else emulation (tcg).",
    ),
    click.option(
        "--wait",
        type=click.Choice(["engine", "ssh", "no"]),
        default="engine",
        help="What to wait for; engine means SSH for an image without one.",
    ),
    click.option(
        "--timeout",
        type=Seconds(min=1),
        default=300,
        show_default=True,
        help="Seconds to wait at most.",
    ),
    click.option(
        "--restart", is_flag=True, help="End the machine if another image or other options are asked."
    ),
)


def _machine_options(verb: Verb) -> Verb:
    """What the machine is like and how long to wait, as ``machine: Options`` and ``wish: Wish``."""

    @functools.wraps(verb)
    def wrapper(
        *args: Any,
        memory: int,
        cpus: int,
        ssh_port: int,
        no_persist: bool,
        disks: tuple[Disk, ...],
        append: tuple[str, ...],
        accel: str,
        wait: str,
        timeout: float,
        restart: bool,
        **kwargs: Any,
    ) -> Any:
        machine = Options(
            memory=memory,
            cpus=cpus,
            ssh_port=ssh_port,
            persist=not no_persist,
            disks=disks,
            append=append,
            accel=accel,
        )
        wish = Wish(wait=wait, timeout=timeout, restart=restart)
        return verb(*args, machine=machine, wish=wish, **kwargs)

    return with_options(wrapper, *_OPTIONS)


@click.command(
    epilog=examples(
        "skiff run virt/qemu,engine/docker    build, boot, show the console until Ctrl-C",
        "skiff run --detach                   the layers of last time, in the background",
        "skiff run -d --memory 2G --cpus 4    a bigger machine",
        "skiff run -d --disk data.img         with one more disk",
        "skiff run -d --restart               end the one that runs, start the newest image",
        "skiff run --disk-boot pc/uefi        start it from its disk image by firmware, as a PC does",
    )
)
@_machine_options
@recipe_options
@build_options
@workspace_option
@ui_option
@json_option
def command(
    detach: bool,
    console: bool,
    disk_boot: bool,
    machine: Options,
    wish: Wish,
    how: pipeline.Options,
    choice: Choice,
    workspace: Workspace,
    ui: Ui,
    as_json: bool,
) -> None:
    """Build the image and boot it in a virtual machine.

    Without --detach the console is shown here, and Ctrl-C stops the machine. The persist disk stays in
    the workspace from run to run.
    """
    if detach and console:
        raise click.UsageError("--console and --detach exclude each other")
    if as_json and not detach:
        raise click.UsageError("--json needs --detach")
    if disk_boot and not machine.persist:
        raise click.UsageError("--no-persist and --disk-boot exclude each other: persist is on the same disk")
    recipe = resolve_recipe(choice, workspace, ui)
    if disk_boot:
        _check_disk_boot(recipe, machine)
    image, _ = build_image(recipe, workspace, ui, how)
    if disk_boot:
        machine = msgspec.structs.replace(machine, boot=_boot(recipe, image, workspace, how, ui))
    if detach:
        _in_background(image, machine, wish, workspace, ui, as_json)
    else:
        _here(image, machine, wish, workspace, ui, console)


def _check_disk_boot(recipe: Recipe, machine: Options) -> None:
    """Refuse before anything is built what no firmware can start."""
    if machine.append and recipe.loader == "uboot":
        raise click.UsageError("U-Boot takes no --append: its script holds the kernel's command line")
    check_loader(recipe.arch, recipe.loader, recipe.names)


def _boot(recipe: Recipe, image: Image, workspace: Workspace, how: pipeline.Options, ui: Ui) -> Boot:
    """The disk image, made when needed, and the firmware that starts it."""
    firmware = pipeline.firmware_for(image, cache_dir(), how, ui)
    with hold(workspace):
        disk, _ = pipeline.disk(recipe, image, workspace, cache_dir(), how, ui)
    return Boot(firmware, disk)


def _in_background(
    image: Image, options: Options, wish: Wish, workspace: Workspace, ui: Ui, as_json: bool
) -> None:
    files = MachineFiles(workspace.machine)
    keys = usable_keys(workspace.private_key, Path.home())
    accel = functools.partial(kvm.choose, image, options.accel, cache_dir(), ui.notice)
    ready = bring_up(image, options, files, keys, wish, accel=accel, ui=ui)
    found = report.with_times(report.inspect(workspace.name, files, image, keys), ready)
    if as_json:
        print_json(found)
    else:
        print_lines(report.lines(found, engine=image.engine, verb=verb_form(workspace)))


def _here(image: Image, options: Options, wish: Wish, workspace: Workspace, ui: Ui, console: bool) -> None:
    files = MachineFiles(workspace.machine)
    keys = usable_keys(workspace.private_key, Path.home())
    accel = functools.partial(kvm.choose, image, options.accel, cache_dir(), ui.notice)
    with ended_on_failure(files):
        state, new = ensure_started(image, options, files, wish, accel=accel, ui=ui)
        if console:
            foreground.join(files, ui, stop=new)
        elif new:
            foreground.show(image, files, state, keys, wish, ui)
    if not new and not console:
        found = report.inspect(workspace.name, files, image, keys)
        print_lines(report.lines(found, engine=image.engine, verb=verb_form(workspace)))
