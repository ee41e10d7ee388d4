"""QEMU's command line as a pure function of an image and the options of one run."""

from __future__ import annotations

from pathlib import Path

import msgspec

from skiff.machine.card import firmware_words
from skiff.machine.files import Disk, MachineFiles
from skiff.model.arch import Arch
from skiff.model.firmware import Boot
from skiff.model.image import Image

# The board QEMU plays when the image names none.
_MACHINE = {Arch.AMD64: "q35", Arch.ARM64: "virt", Arch.ARMHF: "virt", Arch.RISCV64: "virt"}

# Debian's armmp kernel has no LPAE: it reaches PCI only below 4 GiB.
_MACHINE_SETTINGS = {Arch.ARMHF: ",highmem=off"}

# CPU under emulation. amd64: QEMU 7.2 emulates cmpxchg16b wrongly on several CPUs (guest kernels
# panic at random in kmalloc); five-level page tables only cost time, and so do the fast string operations
# (erms, fsrm): the kernel clears and copies pages by them, and QEMU does that byte by byte. With smap each
# copy from or to a program ends two blocks of translated code.
_EMULATED_CPU = {
    Arch.AMD64: "max,-cx16,-la57,-erms,-fsrm,-smap",
    Arch.ARM64: "cortex-a72",
    Arch.ARMHF: "cortex-a15",
    Arch.RISCV64: "rv64",
}

# Words for a kernel that is emulated. To clear all memory before it is given out is much of what a boot costs
# there, and a CPU that does not speculate has nothing to be guarded against. QEMU before 8.0 translates a
# program anew for each address that it is loaded at, which random ones make a new one at every start.
_EMULATED = ("init_on_alloc=0", "mitigations=off", "norandmaps")
# amd64: while the kernel patches its own code, as it does when the first
# control group of a kind is made, QEMU before 8.1 may go on running a breakpoint that is gone, and the kernel
# panics. The two that sit where every allocation of memory passes are kept from being patched.
_EMULATED_WORDS: dict[Arch, tuple[str, ...]] = {
    Arch.AMD64: ("cgroup.memory=nokmem", "cgroup_disable=cpuset"),
}

# First serial port of those boards, as their kernels name it.
_CONSOLE = {Arch.AMD64: "ttyS0", Arch.ARM64: "ttyAMA0", Arch.ARMHF: "ttyAMA0", Arch.RISCV64: "ttyS0"}


class Options(msgspec.Struct, frozen=True):
    """What the user chose for one run; ``memory`` in MiB, 0 meaning the image's own wish."""

    memory: int = 0
    cpus: int = 0
    # 0: a free one.
    ssh_port: int = 0
    persist: bool = True
    # Size of a persist disk that is made anew, in bytes. The file is sparse.
    persist_bytes: int = 4 * 2**30
    disks: tuple[Disk, ...] = ()
    append: tuple[str, ...] = ()
    # `auto`, `kvm` or `tcg`.
    accel: str = "auto"
    # Under emulation: `multi`, a thread for each virtual CPU, or `single`, all of them in turn on one,
    # which is slower to watch and costs less in all.
    threads: str = "multi"
    # Start from a card, by firmware; None: QEMU loads kernel and initramfs itself.
    boot: Boot | None = None
    # Further words for QEMU, after all others.
    extra: tuple[str, ...] = ()


def command(image: Image, options: Options, files: MachineFiles, *, accel: str, ssh_port: int) -> list[str]:
    """The words that start QEMU for this image. Paths of sockets are relative to ``files.root``,
    because the kernel takes 108 bytes of socket path at most: start it there.

    ``accel`` is `kvm` or `tcg`.
    """
    return [
        image.arch.qemu,
        *("-no-user-config", "-nodefaults", "-display", "none"),
        *_board(image, options, accel),
        *_start(image, options, files, accel),
        *("-device", "virtio-rng-pci"),
        *("-netdev", f"user,id=net0,hostfwd=tcp:127.0.0.1:{ssh_port}-:22"),
        *("-device", "virtio-net-pci,netdev=net0"),
        *_disks(options, files),
        *("-device", "i6300esb", "-action", "watchdog=reset"),
        *_console(files.console_log.name, files.console.name),
        *("-chardev", f"socket,id=qmp,path={files.qmp.name},server=on,wait=off", "-mon", "qmp,mode=control"),
        *("-pidfile", str(files.pid), "-daemonize"),
        *options.extra,
    ]


def _start(image: Image, options: Options, files: MachineFiles, accel: str) -> list[str]:
    """What the machine begins with: kernel and initramfs, or firmware that reads them from the card."""
    if options.boot is not None:
        return firmware_words(options.boot.firmware, files, (*_emulated(image, accel), *options.append))
    return [
        *("-kernel", str(image.artefact("kernel").path)),
        *("-initrd", str(image.artefact("initramfs").path)),
        *("-append", kernel_command_line(image, options, accel)),
    ]


def boot_only(image: Image, accel: str) -> list[str]:
    """The words that boot the image's kernel without a root file system, its console on stdout:
    the kernel panics where it would mount one, and QEMU ends there."""
    return [
        image.arch.qemu,
        *("-no-user-config", "-nodefaults", "-display", "none", "-no-reboot"),
        *_board(image, Options(memory=256), accel),
        *("-kernel", str(image.artefact("kernel").path)),
        *("-append", " ".join([f"console={_CONSOLE[image.arch]} panic=-1", *_emulated(image, accel)])),
        *("-serial", "stdio"),
    ]


def kernel_command_line(image: Image, options: Options, accel: str) -> str:
    """The image's own words, console and persist disk when they do not name them, emulation's, the user's."""
    console = f"console={_CONSOLE[image.arch]}"
    missing = [] if any(word.split(",")[0] == console for word in image.cmdline) else [console]
    # A device makes persist on the disk that it started from, here none, or on one that is named.
    named = any(word.startswith("skiff.persist=") for word in (*image.cmdline, *options.append))
    if options.persist and not named:
        missing.append("skiff.persist=/dev/vda")
    return " ".join([*image.cmdline, *missing, *_emulated(image, accel), *options.append])


def _emulated(image: Image, accel: str) -> tuple[str, ...]:
    return (*_EMULATED, *_EMULATED_WORDS.get(image.arch, ())) if accel == "tcg" else ()


def _board(image: Image, options: Options, accel: str) -> list[str]:
    engine = f"tcg,thread={options.threads}" if accel == "tcg" else accel
    cpu = _EMULATED_CPU[image.arch] if accel == "tcg" else "host"
    machine = (image.qemu_machine or _MACHINE[image.arch]) + _MACHINE_SETTINGS.get(image.arch, "")
    return [
        *("-machine", machine, "-accel", engine, "-cpu", cpu),
        *("-smp", str(options.cpus or image.qemu_cpus), "-m", str(options.memory or image.qemu_memory)),
    ]


def _disks(options: Options, files: MachineFiles) -> list[str]:
    words: list[str] = []
    if options.boot is not None:
        words += _disk("card", Disk(files.card))
    elif options.persist:
        words += _disk("persist", Disk(files.persist))
    for number, disk in enumerate(options.disks):
        words += _disk(f"disk{number}", disk)
    return words


def _disk(name: str, disk: Disk) -> list[str]:
    mode = ",readonly=on" if disk.read_only else ""
    return [
        *("-drive", f"if=none,id={name},format=raw,discard=unmap,file={_value(disk.path)}{mode}"),
        *("-device", f"virtio-blk-pci,drive={name},serial={name}"),
    ]


def _console(log: str, socket: str) -> list[str]:
    # With nobody at the socket the output goes to the log alone; the guest never waits for a reader.
    return [
        *("-chardev", f"socket,id=console,path={socket},server=on,wait=off,logfile={log},logappend=off"),
        *("-serial", "chardev:console"),
    ]


def _value(path: Path) -> str:
    """A path inside a QEMU option list, where a comma is written twice."""
    return str(path).replace(",", ",,")
