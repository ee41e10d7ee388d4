"""`skiff flash`: the disk image on a card."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click
import msgspec

from skiff import pipeline
from skiff.cli.build import build_options
from skiff.cli.common import print_json, resolve_recipe
from skiff.cli.disk import disk_image
from skiff.cli.options import (
    Choice,
    examples,
    json_option,
    recipe_options,
    split_names,
    ui_option,
    workspace_option,
)
from skiff.host.disks import Host, HostDisk, find_disk, removable_disks, size_words
from skiff.host.errors import UserError
from skiff.host.ui import Ui
from skiff.machine import flash
from skiff.machine.flash_before import Before, check_keep, look
from skiff.machine.flash_image import Packed, has_gpt, of_disk, open_packed
from skiff.machine.flash_target import Target, not_a_file, open_target
from skiff.model.arch import Arch
from skiff.model.workspace import Workspace


class Order(msgspec.Struct, frozen=True):
    """What was asked for on this command line, beside the image."""

    # Where to; a file when there is no disk.
    path: Path
    disk: HostDisk | None
    yes: bool
    wipe_persist: bool
    verify_only: bool
    eject: bool


@click.command(
    epilog=examples(
        "skiff flash                                list the disks that can be taken out",
        "skiff flash pc/uefi /dev/sdX               build, and write it to the card there",
        "skiff flash /dev/sdX                       the layers of last time",
        "skiff flash --image pc.img.zst /dev/sdX    a disk image that is there already",
        "skiff flash --to card.img                  into a file",
    )
)
@recipe_options
@click.argument("device", required=False)
@click.option(
    "--to", type=click.Path(path_type=Path), metavar="FILE", help="Write to a plain file, not a disk."
)
@click.option(
    "--image",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Build nothing: write this NAME.img.zst, with the NAME.img.bmap beside it.",
)
@click.option("--wipe-persist", is_flag=True, help="Do not keep the persist partition: all on it is lost.")
@click.option("--allow-internal", is_flag=True, help="Allow a disk that cannot be taken out.")
@click.option("--verify-only", is_flag=True, help="Write nothing: compare what is there with the image.")
@click.option("--eject/--no-eject", default=True, help="Whether to eject the card. [default: eject]")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@build_options
@workspace_option
@json_option
@ui_option
def command(
    choice: Choice,
    device: str | None,
    to: Path | None,
    image: Path | None,
    wipe_persist: bool,
    allow_internal: bool,
    verify_only: bool,
    eject: bool,
    yes: bool,
    workspace: Workspace,
    ui: Ui,
    as_json: bool,
    how: pipeline.Options,
) -> None:
    """Build the disk image, write it to a card, and read it back.

    DEVICE is a whole disk, as /dev/sdX. Without it, the disks that can be taken out are listed, and nothing
    is built or written.

    Refused are disks in use: mounted ones, and the one that this machine runs from. A persist partition on
    the card is kept; all else there is lost. Before that, one question is asked.
    """
    choice, named = _words(choice, device)
    if named is None and to is None:
        found = _list(as_json)
        if device is not None or image is not None or yes or wipe_persist or verify_only or allow_internal:
            # A list alone would look as if it had been done.
            raise _not_named(found)
        _tell_how(found, ui)
        return
    if image is not None and choice.layers:
        raise click.UsageError("LAYERS and --image exclude each other.")
    order = _order(named, to, allow_internal, Order(Path(), None, yes, wipe_persist, verify_only, eject))
    if image is None:
        recipe = resolve_recipe(choice, workspace, ui)
        made, _ = disk_image(recipe, workspace, ui, how)
        packed = of_disk(made)
    else:
        packed = open_packed(image)
    _flash(order, packed, ui, as_json)


def _words(choice: Choice, last: str | None) -> tuple[Choice, str | None]:
    """The last word is the device when it is a path below /dev, else it is one more layer."""
    early = next((word for word in choice.layers if word.startswith("/dev/")), None)
    if early is not None:
        raise UserError(f"{early}: the device comes last", hint=f"skiff flash [LAYERS] {early}")
    if last is None or last.startswith("/dev/"):
        return choice, last
    # A layer may be given by its path too.
    if last and "/" not in last and Host().block(last).exists():
        raise UserError(f"{last}: write it as a path", hint=f"/dev/{last}")
    return msgspec.structs.replace(choice, layers=(*choice.layers, *split_names(last))), None


def _list(as_json: bool) -> list[HostDisk]:
    """Print the disks that can be taken out."""
    found = removable_disks(Host())
    if as_json:
        print_json([_as_json(disk) for disk in found])
        return found
    for disk in found:
        refusal = disk.refusal()
        note = f"not now: {refusal[0]}" if refusal else ""
        row = f"{disk.path!s:14} {size_words(disk.bytes):>10}  {disk.transport:6} {disk.model:24} {note}"
        click.echo(row.rstrip())
    return found


_NO_DISK = "no disk that can be taken out is here"
_PLUG_IN = "plug one in; for a disk inside this machine name it, with --allow-internal"


def _tell_how(found: list[HostDisk], ui: Ui) -> None:
    good = next((disk for disk in found if not disk.refusal()), None)
    if good is not None:
        ui.notice(f"to write one: skiff flash {good.path}")
    elif not found:
        ui.notice(f"{_NO_DISK}: {_PLUG_IN}")


def _not_named(found: list[HostDisk]) -> UserError:
    if not found:
        return UserError(f"no DEVICE is named, and {_NO_DISK}", hint=_PLUG_IN)
    good = next((disk for disk in found if not disk.refusal()), found[0])
    return UserError("no DEVICE is named", hint=f"write for instance `skiff flash {good.path}`")


def _as_json(disk: HostDisk) -> dict[str, object]:
    refusal = disk.refusal()
    return {
        "path": disk.path,
        "model": disk.model,
        "bytes": disk.bytes,
        "transport": disk.transport,
        "refused": refusal[0] if refusal else "",
    }


def _order(device: str | None, to: Path | None, allow_internal: bool, base: Order) -> Order:
    """Where to write, all checked that can be before anything is built."""
    if device is not None and to is not None:
        raise click.UsageError("DEVICE and --to exclude each other.")
    if to is not None and to.is_block_device():
        raise not_a_file(to)
    if to is not None and not to.absolute().parent.is_dir():
        raise UserError(f"{to}: the folder is not there", hint="name a file in a folder that is there")
    disk = find_disk(Path(device), Host()) if device is not None else None
    if disk is not None and not base.verify_only:
        disk.check_writable(allow_internal=allow_internal)
    path = disk.path if disk else to
    assert path is not None
    order = msgspec.structs.replace(base, path=path, disk=disk)
    if _asks(order) and not sys.stdin.isatty():
        raise UserError(
            f"{path}: what is on it would be lost, and there is no terminal to ask at",
            hint="add --yes when it is the right one",
        )
    return order


def _asks(order: Order) -> bool:
    there = order.disk is not None or (order.path.exists() and order.path.stat().st_size > 0)
    return there and not (order.yes or order.verify_only)


def _flash(order: Order, packed: Packed, ui: Ui, as_json: bool) -> None:
    asks = _asks(order)
    with open_target(
        order.path,
        order.disk,
        packed.bytes,
        host=Host(),
        writable=not order.verify_only,
        sudo=_sudo(order, packed),
    ) as target:
        before = look(order.path, packed.bytes)
        if order.verify_only:
            flash.check(packed, target, before, ui)
            if as_json:
                print_json({"path": order.path, "image": packed.path})
            else:
                click.echo(f"{order.path}: holds {packed.path.name}, every block that matters is right")
            return
        keep = before.persist is not None and not order.wipe_persist
        if keep:
            check_keep(before, order.path, packed.bytes, target.size, has_gpt(packed))
        if asks:
            _ask(order, packed, target, before, keep)
        done = flash.write(packed, target, before, keep, ui)
        ejected = flash.finish(
            target, order.eject and order.disk is not None and order.disk.transport == "usb"
        )
    if as_json:
        print_json({**msgspec.structs.asdict(done), "persist_kept": keep, "ejected": ejected})
        return
    _tell(order, packed, done, keep, ejected)


def _ask(order: Order, packed: Packed, target: Target, before: Before, keep: bool) -> None:
    title = order.disk.title if order.disk else f"a file, {size_words(target.size)}"
    lines = [f"{order.path}: {title}", *before.lines(keep)]
    if before.unfinished:
        lines.append("  writing it was interrupted before")
    elif not before.parts and not before.blank:
        lines.append("  no partition that is known; all of it is LOST")
    click.echo("\n".join(lines), err=True)
    if not click.confirm(f"Write {packed.path.name} to {order.path}?", err=True):
        raise UserError("nothing was written")


def _tell(order: Order, packed: Packed, done: flash.Written, keep: bool, ejected: bool) -> None:
    speed = f"{done.written / 1e6 / max(done.seconds, 1e-3):.1f} MB/s"
    click.echo(
        f"{order.path}: {done.written / 1e6:.1f} MB written in {done.seconds:.1f} s ({speed}), "
        f"read back in {done.verify_seconds:.1f} s: all right"
    )
    click.echo("persist: kept" if keep else "persist: made on the first start")
    if order.disk is None:
        return
    host, _, arch = packed.path.name.removesuffix(".img.zst").rpartition("-")
    name = host if host and arch in [one.value for one in Arch.bootable()] else "NAME"
    out = "ejected: take it out" if ejected else "take it out"
    click.echo(f"{out}, put it into the device, plug in network and power; then: ssh root@{name}.local")


def _sudo(order: Order, packed: Packed) -> str:
    """The command that writes the image which is there now, as root: root builds nothing."""
    words = ["sudo", str(Path(sys.argv[0]).absolute()), "flash", "--image", str(packed.path)]
    words += [str(order.path)] if order.disk else ["--to", str(order.path)]
    ctx = click.get_current_context()
    for name in ("wipe_persist", "allow_internal", "verify_only", "yes"):
        words += [f"--{name.replace('_', '-')}"] if ctx.params[name] else []
    return shlex.join(words)
