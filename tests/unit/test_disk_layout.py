"""Where things lie on a disk image and in memory, and what is refused because it does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from skiff.host.errors import UserError
from skiff.image.boot_kernel import BootKernel
from skiff.image.boot_uboot import starter, state
from skiff.image.disk_layout import check_load, check_slot, place, slot_size, total_size
from skiff.image.disk_pack import block_ranges
from skiff.model.arch import Arch
from skiff.model.disk import MIB, DiskPlan, Placed
from skiff.model.layer import LoadPart, RawPiece

PLAN = DiskPlan("gpt", 16, 512, "uboot")


def with_piece(sector: int, *, table: str = "gpt", limit: int = 0) -> DiskPlan:
    return DiskPlan(table, 16, 512, "uboot", raw=(RawPiece("spl", sector, limit=limit),))


def test_the_room_for_persist_begins_where_the_image_ends() -> None:
    # Else the GPT's copy would lie on the first bytes of a persist partition that is there already.
    for table in ("gpt", "dos"):
        plan = DiskPlan(table, 16, 512, "uboot")
        assert total_size(plan) == 528 * MIB == max(item.end for item in place(plan, {}))


def test_two_slots_fit_into_the_boot_partition() -> None:
    assert 2 * slot_size(PLAN) < 512 * MIB


def test_pieces_are_placed_in_order() -> None:
    names = [item.name for item in place(with_piece(64), {"spl": 1000})]
    assert names == [
        "partition table",
        "spl",
        "boot partition",
        "spare partition",
        "copy of the partition table",
    ]


@pytest.mark.parametrize(
    ("plan", "size", "says"),
    [
        (with_piece(33), 512, "partition table .* runs into spl"),
        (with_piece(1, table="dos"), 512, ""),
        (with_piece(0, table="dos"), 440, ""),
        (with_piece(0, table="dos"), 441, "spl .* runs into partition table"),
        (with_piece(64), 16 * MIB - 64 * 512, ""),
        (with_piece(64), 16 * MIB - 64 * 512 + 1, "spl .* runs into boot partition"),
        (with_piece(64, limit=999), 1000, "1000 bytes, and there is room for 999"),
        (with_piece(528 * MIB // 512), 1, "spl lies behind the boot partition, where persist will be"),
        (with_piece(528 * MIB // 512, table="dos"), 1, "spl lies behind the boot partition"),
        (DiskPlan("gpt", 0, 512, "uefi"), 0, "too small"),
        (DiskPlan("gpt", 16, 63, "uefi"), 0, "too small"),
    ],
)
def test_what_overlaps_is_refused(plan: DiskPlan, size: int, says: str) -> None:
    if not says:
        place(plan, {"spl": size})
        return
    with pytest.raises(UserError, match=says) as error:
        place(plan, {"spl": size})
    assert error.value.hint


def test_an_image_larger_than_the_slot_is_refused_with_a_size_that_does() -> None:
    check_slot(PLAN, {"kernel": slot_size(PLAN)})
    with pytest.raises(UserError, match=r"takes 300\.0 MiB, a slot .* has 253\.5 MiB") as error:
        check_slot(PLAN, {"kernel": 100 * MIB, "initramfs": 200 * MIB})
    assert "[disk] size = 640" in error.value.hint
    check_slot(DiskPlan("gpt", 16, 640, "uboot"), {"kernel": 100 * MIB, "initramfs": 200 * MIB})


LOAD = LoadPart(kernel=0x400000, initramfs=0x4000000, dtb=0x100000, unpack=0, end=0x8000000)


def test_what_overlaps_in_memory_is_refused() -> None:
    plan = DiskPlan("gpt", 16, 512, "uboot", load=LOAD)
    check_load(plan, {"kernel": 60 * MIB, "initramfs": 64 * MIB, "dtb": MIB})
    with pytest.raises(UserError, match=r"kernel \(60\.0 MiB at 0x400000\) would run into initramfs"):
        check_load(plan, {"kernel": 60 * MIB + 1, "initramfs": MIB})
    with pytest.raises(UserError, match=r"initramfs .* would end at 0x8000001, .* above the limit 0x8000000"):
        check_load(plan, {"kernel": MIB, "initramfs": 64 * MIB + 1})


def test_scripts_are_not_overwritten_while_they_run() -> None:
    plan = DiskPlan("gpt", 16, 512, "uboot", load=LoadPart(initramfs=0x1000000, script=0x1100000))
    check_load(plan, {"initramfs": MIB})
    with pytest.raises(UserError, match=r"initramfs .* would run into U-Boot's scripts at 0x1100000"):
        check_load(plan, {"initramfs": MIB + 1})


def test_addresses_that_nobody_set_are_not_checked() -> None:
    check_load(PLAN, {"kernel": 900 * MIB, "initramfs": 900 * MIB})


def test_blocks_that_touch_are_one_range() -> None:
    assert block_ranges([Placed("a", 0, 4097), Placed("b", 8192, 1), Placed("c", 40960, 0)]) == [(0, 2)]
    assert block_ranges([Placed("b", 40960, 1), Placed("a", 0, 1)]) == [(0, 0), (10, 10)]


def test_the_state_of_the_slots_is_one_sector() -> None:
    assert state("a")[:11] == b"SKIFFST1a\xff\0"
    assert state("b", 3)[8:10] == b"b\x03" and len(state("b", 3)) == 512


def test_uboot_starts_no_pc(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no scripts of U-Boot for amd64") as raised:
        starter(PLAN, Arch.AMD64, BootKernel(tmp_path, False, 1), tmp_path, ["quiet"])
    assert "uefi" in raised.value.hint


def test_the_starter_sets_what_was_checked(tmp_path: Path) -> None:
    file = tmp_path / "Image.gz"
    file.write_bytes(b"0" * 100)
    load = LoadPart(kernel=0x400000, initramfs=0x4000000, unpack=0x2000000)
    plan = DiskPlan("gpt", 16, 512, "uboot", load=load, dtbs=("v/one.dtb",))
    text = starter(plan, Arch.ARM64, BootKernel(file, True, 1000), file, ["quiet"])
    assert "setenv bootargs 'quiet'\nsetenv bootargs \"${bootargs} skiff.slot=${skiff_try}\"" in text
    assert "setenv kernel_comp_addr_r 0x2000000" in text and "setenv kernel_comp_size 0x64" in text
    assert "setenv fdtfile v/one.dtb" in text and "fdt_addr_r 0x" not in text
    assert "booti ${kernel_addr_r} ${ramdisk_addr_r}:${skiff_size} ${skiff_fdt}" in text
    # CRC-32 of a hundred digits 0 is 53a46077. U-Boot's configuration decides which of its bytes comes first.
    one, other = (f"itest.l *${{skiff_sum}} == {value}" for value in ("0x7760a453", "0x53a46077"))
    assert text.count(f"{one} || {other} || setenv skiff_bad") == 2


def test_both_slots_give_way_to_further_files() -> None:
    room = slot_size(PLAN)
    check_slot(PLAN, {"kernel": room - MIB}, 2 * MIB)
    with pytest.raises(UserError, match="a slot of the boot partition has"):
        check_slot(PLAN, {"kernel": room - MIB + 1}, 2 * MIB)
