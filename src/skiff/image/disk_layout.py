"""Where everything of a disk image lies, as plain arithmetic; refuses what does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from skiff.host.errors import UserError
from skiff.model.disk import GPT_COPY, MIB, SECTOR, DiskPlan, Placed

# A GPT takes 34 sectors at the start (UEFI specification, 5.3).
_GPT_START = 34 * SECTOR
# In a DOS partition table: disk id, four entries and signature. What lies before is the bootloader's.
_DOS_START, _DOS_END = 440, 512
# Of the boot partition, for the file system's own tables, the loaders, and the spare partition.
_OVERHEAD = 5 * MIB
# FAT32 needs 65525 clusters at least; below this size not even the smallest clusters give that many.
_SMALLEST = 64

# Room in memory for U-Boot's scripts and the sector with the state (four places in it are used).
SCRIPTS = 256 << 10

BOOT = "boot partition"
SPARE = "spare partition"
_SPARE_SIZE = MIB


def total_size(plan: DiskPlan) -> int:
    """Bytes of the whole image."""
    return (plan.start + plan.size) * MIB


def boot_partition(plan: DiskPlan) -> Placed:
    """The boot partition. What follows it comes out of its end, be it the spare partition or the GPT's copy:
    where the image ends persist begins, and a card that is written anew must not lose the start of that.
    """
    behind = _SPARE_SIZE if plan.loader == "uboot" else _copy(plan)
    return Placed(BOOT, plan.start * MIB, plan.size * MIB - behind)


def spare_partition(plan: DiskPlan) -> Placed | None:
    """The partition with a second one of the script that chooses the slot; None where U-Boot does not start.

    U-Boot takes the first script that it can run, of one partition that is marked bootable after the other.
    """
    if plan.loader != "uboot":
        return None
    return Placed(SPARE, total_size(plan) - _SPARE_SIZE, _SPARE_SIZE - _copy(plan))


def _copy(plan: DiskPlan) -> int:
    return GPT_COPY + SECTOR if plan.table == "gpt" else 0


def slot_size(plan: DiskPlan) -> int:
    """Bytes that each slot of the boot partition may take."""
    return (plan.size * MIB - _OVERHEAD) // 2


def place(plan: DiskPlan, pieces: Mapping[str, int]) -> list[Placed]:
    """Everything on the disk, in order. ``pieces``: bytes that each raw piece is going to take.

    Raises UserError when two things overlap, or a piece is larger than its limit or behind all else.
    """
    if plan.start < 1 or plan.size < _SMALLEST:
        raise UserError(
            f"disk.start {plan.start}, disk.size {plan.size}: too small for a boot partition",
            hint=f"a start of 1 (MiB) and a size of {_SMALLEST} (MiB) are the least",
        )
    placed = [boot_partition(plan), *filter(None, [spare_partition(plan)])]
    if plan.table == "gpt":
        placed.append(Placed("partition table", 0, _GPT_START))
        placed.append(Placed("copy of the partition table", total_size(plan) - GPT_COPY, GPT_COPY))
    else:
        placed.append(Placed("partition table", _DOS_START, _DOS_END - _DOS_START))
    for piece in plan.raw:
        size = pieces.get(piece.name, 0)
        if piece.limit and size > piece.limit:
            raise UserError(
                f"raw piece {piece.name}: {size} bytes, and there is room for {piece.limit}",
                hint="a smaller one is needed, or another disk.raw.limit",
            )
        if size:
            placed.append(Placed(piece.name, piece.sector * SECTOR, size))
    placed.sort(key=lambda item: (item.start, item.end))
    for before, after in pairwise(placed):
        if before.end > after.start:
            raise UserError(
                f"on the disk, {before.name} (bytes {before.start} to {before.end}) runs into "
                f"{after.name} (from byte {after.start})",
                hint="change disk.start, disk.table or the sector of the raw piece in the board's layer",
            )
    if placed[-1].end > total_size(plan):
        raise UserError(
            f"raw piece {placed[-1].name} lies behind the boot partition, where persist will be",
            hint="change disk.start or the sector of the raw piece in the board's layer",
        )
    return placed


def check_slot(plan: DiskPlan, files: Mapping[str, int], beside: int = 0) -> None:
    """Raise UserError when the files of a slot (name and bytes) do not fit into it.

    ``beside``: bytes of further files of the boot partition, for which both slots give way.
    """
    need, room = sum(files.values()), slot_size(plan) - -(-beside // 2)
    if need > room:
        largest = ", ".join(
            f"{name} {size / MIB:.1f} MiB"
            for name, size in sorted(files.items(), key=lambda item: -item[1])[:3]
        )
        # Whole 64 MiB: what is written to cards begins and ends at large blocks.
        enough = -(-(2 * need + beside + _OVERHEAD) // (64 * MIB)) * 64
        raise UserError(
            f"the image takes {need / MIB:.1f} MiB, a slot of the boot partition has {room / MIB:.1f} MiB "
            f"({largest})",
            hint=f"[disk] size = {enough} in a layer is enough; `skiff size` shows what to leave out",
        )


def check_load(plan: DiskPlan, sizes: Mapping[str, int]) -> None:
    """Raise UserError when things overlap where U-Boot loads them, or do not end below ``load.end``.

    ``sizes``: bytes in memory of `kernel`, `initramfs`, `dtb` and `unpack`, those that there are.
    """
    load = plan.load
    address = {"kernel": load.kernel, "initramfs": load.initramfs, "dtb": load.dtb, "unpack": load.unpack}
    things = [Placed(name, address[name], size) for name, size in sizes.items() if address[name] and size]
    if load.script:
        things.append(Placed("U-Boot's scripts", load.script, SCRIPTS))
    loaded = sorted(things, key=lambda item: item.start)
    for before, after in pairwise(loaded):
        if before.end > after.start:
            raise UserError(
                f"in memory, {before.name} ({before.size / MIB:.1f} MiB at {before.start:#x}) would run into "
                f"{after.name} at {after.start:#x}",
                hint="make the image smaller (`skiff size`), or move them apart in [disk.load] of the layer",
            )
    if load.end and loaded and loaded[-1].end > load.end:
        last = loaded[-1]
        raise UserError(
            f"in memory, {last.name} ({last.size / MIB:.1f} MiB at {last.start:#x}) would end at "
            f"{last.end:#x}, {(last.end - load.end) / MIB:.1f} MiB above the limit {load.end:#x}",
            hint="make the image smaller (`skiff size`); U-Boot could not load it on this board",
        )
