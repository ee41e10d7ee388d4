"""QEMU's command line: one golden line, and what each option changes in it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from skiff.machine.files import Disk, MachineFiles
from skiff.machine.qemu import Options, boot_only, command, kernel_command_line
from skiff.model.arch import Arch
from skiff.model.image import Image
from tests.tool.fake_machine import small_image

FILES = MachineFiles(Path("/ws/machine"))
EMULATED = "init_on_alloc=0 mitigations=off norandmaps cgroup.memory=nokmem cgroup_disable=cpuset"


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return small_image(tmp_path / "image")


def words(image: Image, options: Options = Options(), accel: str = "tcg") -> list[str]:  # noqa: B008
    return command(image, options, FILES, accel=accel, ssh_port=2222)


def after(line: list[str], option: str) -> list[str]:
    """All arguments of an option."""
    return [line[at + 1] for at, word in enumerate(line) if word == option]


def test_the_whole_line(image: Image, tmp_path: Path) -> None:
    assert words(image) == [
        "qemu-system-x86_64",
        *("-no-user-config", "-nodefaults", "-display", "none"),
        *("-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max,-cx16,-la57,-erms,-fsrm,-smap"),
        *("-smp", "2", "-m", "512"),
        *("-kernel", f"{tmp_path}/image/kernel", "-initrd", f"{tmp_path}/image/initramfs"),
        *("-append", f"console=ttyS0 panic=10 skiff.persist=/dev/vda {EMULATED}"),
        *("-device", "virtio-rng-pci"),
        *("-netdev", "user,id=net0,hostfwd=tcp:127.0.0.1:2222-:22"),
        *("-device", "virtio-net-pci,netdev=net0"),
        *("-drive", "if=none,id=persist,format=raw,discard=unmap,file=/ws/machine/persist.img"),
        *("-device", "virtio-blk-pci,drive=persist,serial=persist"),
        *("-device", "i6300esb", "-action", "watchdog=reset"),
        "-chardev",
        "socket,id=console,path=console.sock,server=on,wait=off,logfile=console.log,logappend=off",
        *("-serial", "chardev:console"),
        *("-chardev", "socket,id=qmp,path=qmp.sock,server=on,wait=off", "-mon", "qmp,mode=control"),
        *("-pidfile", "/ws/machine/qemu.pid", "-daemonize"),
    ]


def test_kvm_takes_the_host_cpu(image: Image) -> None:
    line = words(image, accel="kvm")
    assert after(line, "-accel") == ["kvm"]
    assert after(line, "-cpu") == ["host"]


def test_all_virtual_cpus_on_one_thread(image: Image) -> None:
    assert after(words(image, Options(threads="single")), "-accel") == ["tcg,thread=single"]
    assert after(words(image, Options(threads="single"), accel="kvm"), "-accel") == ["kvm"]


def test_the_users_numbers_win_over_the_images(image: Image) -> None:
    line = words(image, Options(memory=1024, cpus=4))
    assert after(line, "-m") == ["1024"]
    assert after(line, "-smp") == ["4"]


def test_without_persist_there_is_no_disk(image: Image) -> None:
    assert after(words(image, Options(persist=False)), "-drive") == []


def test_persist_comes_before_other_disks_and_commas_are_doubled(image: Image) -> None:
    line = words(image, Options(disks=(Disk(Path("/d/a,b.img")), Disk(Path("/d/c.img"), read_only=True))))
    first, second, third = after(line, "-drive")
    assert "persist.img" in first
    assert second.endswith("file=/d/a,,b.img")
    assert third.endswith("file=/d/c.img,readonly=on")
    assert [word for word in after(line, "-device") if "virtio-blk" in word] == [
        "virtio-blk-pci,drive=persist,serial=persist",
        "virtio-blk-pci,drive=disk0,serial=disk0",
        "virtio-blk-pci,drive=disk1,serial=disk1",
    ]


def test_appended_words_come_last(image: Image) -> None:
    options = Options(persist=False, append=("a=1", "b"))
    assert kernel_command_line(image, options, "kvm") == "console=ttyS0 panic=10 a=1 b"


def test_the_persist_disk_is_named_when_there_is_one_and_nobody_names_another(image: Image) -> None:
    def line(options: Options, *of_image: str) -> str:
        changed = msgspec.structs.replace(image, cmdline=("console=ttyS0", *of_image))
        return kernel_command_line(changed, options, "kvm")

    assert line(Options()) == "console=ttyS0 skiff.persist=/dev/vda"
    assert line(Options(persist=False)) == "console=ttyS0"
    assert line(Options(), "skiff.persist=/dev/vda") == "console=ttyS0 skiff.persist=/dev/vda"
    other = Options(append=("skiff.persist=vdb",))
    assert line(other) == "console=ttyS0 skiff.persist=vdb"


def test_an_emulated_kernel_does_not_patch_what_every_allocation_runs_through(image: Image) -> None:
    emulated = kernel_command_line(image, Options(append=("last",)), "tcg").split()
    assert " ".join(emulated).endswith(f"{EMULATED} last")
    other = msgspec.structs.replace(image, arch=Arch.ARM64)
    assert "cgroup" not in kernel_command_line(other, Options(), "tcg")


@pytest.mark.parametrize(
    ("arch", "machine", "cpu", "console"),
    [
        (Arch.ARM64, "virt", "cortex-a72", "ttyAMA0"),
        (Arch.ARMHF, "virt,highmem=off", "cortex-a15", "ttyAMA0"),
        (Arch.RISCV64, "virt", "rv64", "ttyS0"),
    ],
)
def test_other_cpus(tmp_path: Path, arch: Arch, machine: str, cpu: str, console: str) -> None:
    line = words(small_image(tmp_path, arch=arch))
    assert line[0] == arch.qemu
    assert after(line, "-machine") == [machine]
    assert after(line, "-cpu") == [cpu]
    assert f"console={console}" in after(line, "-append")[0].split()


def test_a_console_with_a_speed_is_named_once(image: Image) -> None:
    fast = msgspec.structs.replace(image, cmdline=("console=ttyS0,115200",))
    assert kernel_command_line(fast, Options(persist=False), "kvm") == "console=ttyS0,115200"


def test_a_trial_boot_has_no_disk_no_network_and_ends_by_itself(image: Image) -> None:
    line = boot_only(image, "kvm")
    assert "-no-reboot" in line
    assert "-drive" not in line and "-netdev" not in line
    assert after(line, "-append") == ["console=ttyS0 panic=-1"]


def test_what_only_a_real_cpu_needs_is_left_out_under_emulation(image: Image) -> None:
    assert "init_on_alloc=0 mitigations=off" in kernel_command_line(image, Options(), "tcg")
    assert "init_on_alloc" not in kernel_command_line(image, Options(), "kvm")
    # The kernel alone, to which boots are compared, gets the same.
    assert EMULATED in " ".join(boot_only(image, "tcg"))
