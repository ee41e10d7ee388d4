"""Scripts for U-Boot: one chooses the slot and counts tries, and one in each slot starts its kernel."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from skiff.host.errors import UserError
from skiff.host.run import run
from skiff.image.boot_kernel import BootKernel
from skiff.model.arch import Arch
from skiff.model.disk import DiskPlan

# U-Boot's command that starts a kernel of this kind.
_BOOT = {Arch.ARM64: "booti", Arch.ARMHF: "bootz", Arch.RISCV64: "booti"}
_MKIMAGE_ARCH = {Arch.ARM64: "arm64", Arch.ARMHF: "arm", Arch.RISCV64: "riscv", Arch.AMD64: "x86"}

# Sector of the boot partition with the state of the slots: one that FAT sets aside, so no file is there.
STATE_SECTOR = 16
_MAGIC = b"SKIFFST1"
# In place of tries left: started well, no counting.
_GOOD = 0xFF
# Tells the device of its trial: it may not find the disk to look there. The chooser left the state in memory.
# It is about the other slot when that has no tries left, or could not be loaded.
_TRIAL = [
    "setenv skiff_letter 0x61",
    'if test "${skiff_try}" = b; then setenv skiff_letter 0x62; fi',
    "setexpr skiff_mark ${skiff_where} + 0xa",
    "if itest.l *${skiff_where} == 0x46494b53 && itest.b *${skiff_slot} == ${skiff_letter}; then",
    "  if itest.b *${skiff_mark} == 0x74; then",
    '    setenv bootargs "${bootargs} skiff.trial"',
    "  fi",
    "fi",
]


def state(slot: str, tries: int = _GOOD) -> bytes:
    """The sector with the state: magic, slot to start, tries left. It is written whole or not at all."""
    return (_MAGIC + slot.encode() + bytes([tries])).ljust(512, b"\0")


def chooser(plan: DiskPlan) -> str:
    """The text of `boot.scr`, the script that U-Boot looks for by itself."""
    text = resources.files("skiff.image").joinpath("boot_uboot.txt").read_text()
    return "\n".join([*_address("scriptaddr", plan.load.script), text])


def starter(plan: DiskPlan, arch: Arch, kernel: BootKernel, initramfs: Path, cmdline: Sequence[str]) -> str:
    """The text of a slot's script: loads the slot's other files, checks them, and starts the kernel.

    It is the same in both slots: ``skiff_try`` is the chooser's name for the one it tries.
    Raises UserError for a CPU that is not started by U-Boot here.
    """
    if arch not in _BOOT:
        raise UserError(
            f"disk.loader: there are no scripts of U-Boot for {arch.value}",
            hint="it can be uefi or none there; `skiff show --why loader` names the layer",
        )
    load = plan.load
    lines = [
        f"setenv bootargs '{' '.join(cmdline)}'",
        'setenv bootargs "${bootargs} skiff.slot=${skiff_try}"',
        *_TRIAL,
        *_address("kernel_addr_r", load.kernel),
        *_address("ramdisk_addr_r", load.initramfs),
        *_address("fdt_addr_r", load.dtb),
        # The initramfs stays where it is loaded: moving it takes its room twice.
        "setenv initrd_high 0xffffffffffffffff"
        if arch is not Arch.ARMHF
        else "setenv initrd_high 0xffffffff",
    ]
    if kernel.packed:
        lines += [
            *_address("kernel_comp_addr_r", load.unpack),
            f"setenv kernel_comp_size {kernel.path.stat().st_size:#x}",
        ]
    lines += _device_tree(plan.dtbs)
    start = f"{_BOOT[arch]} ${{kernel_addr_r}} ${{ramdisk_addr_r}}:${{skiff_size}} ${{skiff_fdt}}"
    lines += [
        "setexpr skiff_sum ${scriptaddr} + 0x30000",
        "setenv skiff_bad",
        "if load ${skiff_part} ${kernel_addr_r} /${skiff_try}/kernel; then",
        *_check("kernel", "${kernel_addr_r}", kernel.path),
        "  if load ${skiff_part} ${ramdisk_addr_r} /${skiff_try}/initramfs; then",
        "    setenv skiff_size ${filesize}",
        *_check("initramfs", "${ramdisk_addr_r}", initramfs),
        '    if test -n "${skiff_bad}"; then',
        '      echo "Skiff: damaged:${skiff_bad}"',
        "    else",
        f"      {start}",
        "    fi",
        "  fi",
        "fi",
    ]
    return "\n".join(lines) + "\n"


def _check(name: str, address: str, file: Path) -> list[str]:
    """Compare what was loaded: a damaged kernel may hang, and nothing would end that. U-Boot does not look at
    the checksum of a compressed one. One that has no `crc32` starts it unseen."""
    crc = 0
    with file.open("rb") as data:
        while part := data.read(1 << 20):
            crc = zlib.crc32(part, crc)
    # U-Boot with CONFIG_HASH stores it with the highest byte first, one without as its CPU does
    # (common/hash.c, hash_command).
    high_first = int.from_bytes(crc.to_bytes(4, "big"), "little")
    is_it = " || ".join(f"itest.l *${{skiff_sum}} == {value:#x}" for value in (high_first, crc))
    return [
        f"if crc32 {address} ${{filesize}} ${{skiff_sum}}; then",
        f'  {is_it} || setenv skiff_bad "${{skiff_bad}} {name}"',
        "fi",
    ]


def _address(variable: str, address: int) -> list[str]:
    """An address of the layer's; without one U-Boot's own stays."""
    return [f"setenv {variable} {address:#x}"] if address else []


def _device_tree(dtbs: Sequence[str]) -> list[str]:
    """Load the board's device tree. Without one of ours the kernel gets the one that U-Boot itself has."""
    lines = ["setenv skiff_fdt ${fdtcontroladdr}"]
    if len(dtbs) == 1:
        # Whatever U-Boot calls this board.
        lines.append(f"setenv fdtfile {dtbs[0]}")
    if dtbs:
        lines += [
            "if load ${skiff_part} ${fdt_addr_r} /${skiff_try}/dtbs/${fdtfile}; then",
            "  setenv skiff_fdt ${fdt_addr_r}",
            "fi",
        ]
    return lines


def script(text: str, name: str, arch: Arch, epoch: int) -> bytes:
    """A script as U-Boot reads it: wrapped by mkimage, with the given time (seconds since 1970)."""
    with tempfile.TemporaryDirectory(prefix="skiff-script-") as scratch:
        source, target = Path(scratch) / "text", Path(scratch) / "script"
        source.write_text(text)
        words = ["-A", _MKIMAGE_ARCH[arch], "-O", "linux", "-T", "script", "-C", "none", "-n", name]
        run(["mkimage", *words, "-d", source, target], env={"SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC"})
        return target.read_bytes()
