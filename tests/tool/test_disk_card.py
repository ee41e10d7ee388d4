"""The card of a machine that starts by firmware: written as a real one is, and what QEMU is told of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from skiff.__main__ import main
from skiff.host.errors import UserError
from skiff.host.files import file_digest
from skiff.host.run import run
from skiff.machine.card import insert_card
from skiff.machine.files import MachineFiles
from skiff.machine.qemu import Options, command
from skiff.model.disk import MIB, DiskFile, DiskImage
from skiff.model.firmware import Boot, Firmware
from tests.tool.fake_machine import machine_files, small_image


def disk_image(folder: Path, fill: bytes) -> DiskImage:
    """Two MiB: the first of ``fill``, the second of zeros."""
    folder.mkdir(exist_ok=True)
    plain, packed = folder / "plain", folder / "x.img.zst"
    plain.write_bytes(fill * MIB + bytes(MIB))
    run(["zstd", "-qf", plain, "-o", packed])
    file = DiskFile(packed, packed.stat().st_size, file_digest(packed))
    return DiskImage("", file, file, file, 2 * MIB, file_digest(plain), 2 * MIB, "uefi", ())


@pytest.fixture
def files(tmp_path: Path) -> MachineFiles:
    return machine_files(tmp_path)


def read(path: Path, start: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(size)


def test_a_new_card_is_larger_than_the_image_and_sparse(files: MachineFiles, tmp_path: Path) -> None:
    insert_card(files, disk_image(tmp_path / "one", b"1"), 100 * MIB)
    info = files.card.stat()
    assert info.st_size == 102 * MIB and info.st_blocks * 512 < 2 * MIB
    assert read(files.card, 0, 2 * MIB) == b"1" * MIB + bytes(MIB)


def test_another_image_is_written_over_and_what_lies_behind_stays(
    files: MachineFiles, tmp_path: Path
) -> None:
    insert_card(files, disk_image(tmp_path / "one", b"1"), 4 * MIB)
    with files.card.open("r+b") as card:
        card.seek(MIB)
        card.write(b"p" * 2 * MIB)
    files.known_hosts.write_text("a key")
    insert_card(files, disk_image(tmp_path / "two", b"2"), 4 * MIB)
    assert read(files.card, 0, 3 * MIB) == b"2" * MIB + bytes(MIB) + b"p" * MIB
    assert files.known_hosts.exists()


def test_the_same_image_is_not_written_again(files: MachineFiles, tmp_path: Path) -> None:
    made = disk_image(tmp_path / "one", b"1")
    insert_card(files, made, MIB)
    with files.card.open("r+b") as card:
        card.write(b"changed")
    insert_card(files, made, MIB)
    assert read(files.card, 0, 7) == b"changed"


def test_a_damaged_image_leaves_no_card(files: MachineFiles, tmp_path: Path) -> None:
    made = disk_image(tmp_path / "one", b"1")
    made.packed.path.write_bytes(made.packed.path.read_bytes()[:-20])
    with pytest.raises(UserError, match="cannot be unpacked"):
        insert_card(files, made, MIB)
    assert not files.card.exists() and not files.card_image.exists()


def words(files: MachineFiles, tmp_path: Path, firmware: Firmware) -> list[str]:
    boot = Boot(firmware, disk_image(tmp_path / "one", b"1"))
    options = Options(boot=boot, append=("one", "a,b"))
    return command(small_image(tmp_path / "image"), options, files, accel="kvm", ssh_port=1)


def test_uefi_reads_the_card_and_gets_further_words(files: MachineFiles, tmp_path: Path) -> None:
    line = words(files, tmp_path, Firmware("uefi", Path("/fw/code,1.fd"), Path("/fw/vars.fd")))
    assert not {"-kernel", "-initrd", "-append", "-bios"} & set(line)
    assert "if=pflash,unit=0,format=raw,readonly=on,file=/fw/code,,1.fd" in line
    assert f"if=pflash,unit=1,format=raw,file={files.variables}" in line
    assert "type=11,value=io.systemd.boot.kernel-cmdline-extra=one a,,b" in line
    assert any(f"file={files.card}" in word for word in line)
    assert not any("persist.img" in word for word in line)


@pytest.mark.parametrize(("folder", "option"), [("qemu_arm64", "-bios"), ("qemu-riscv64_smode", "-kernel")])
def test_u_boot_reads_the_card(files: MachineFiles, tmp_path: Path, folder: str, option: str) -> None:
    code = Path(f"/fw/{folder}/u-boot.bin")
    line = words(files, tmp_path, Firmware("uboot", code))
    assert line[line.index(option) + 1] == str(code)
    assert "-initrd" not in line and "-smbios" not in line


def test_u_boot_takes_no_further_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SKIFF_WORKSPACES", str(tmp_path))
    assert main(["run", "--disk-boot", "--append", "x", "virt/qemu", "--arch", "arm64"]) == 2
    assert "U-Boot takes no --append" in capsys.readouterr().err
