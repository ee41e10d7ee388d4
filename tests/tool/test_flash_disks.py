"""Which disks `skiff flash` shows, and which it refuses; on a made-up machine and on this one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from skiff.__main__ import main
from skiff.host.disks import Host, find_disk, removable_disks
from tests.tool.fake_disks import SATA, SLOT, USB, FakeDisks


@pytest.fixture
def disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDisks:
    fake = FakeDisks(tmp_path / "machine")
    monkeypatch.setattr("skiff.cli.flash.Host", lambda: fake.host)
    monkeypatch.setenv("SKIFF_WORKSPACES", str(tmp_path / "workspaces"))
    return fake


def card_reader(disks: FakeDisks, name: str = "sdq") -> None:
    files = {"removable": "1", "device/vendor": "Generic ", "device/model": "SD/MMC"}
    disks.add(name, USB, files, parts=2)


def test_the_disks_that_can_be_taken_out_are_listed(
    disks: FakeDisks, capsys: pytest.CaptureFixture[str]
) -> None:
    disks.add("sdp", SATA, {"device/model": "Inside 1TB"})
    card_reader(disks)
    disks.add("sdr", USB, {"size": "0", "removable": "1", "device/model": "empty slot"})
    # A USB disk with an SSD in it does not call itself removable.
    disks.add("sds", f"{USB}/x", {"device/model": "Portable"})
    disks.add("mmcblk7", SLOT, {"device/type": "SD", "device/name": "SC32G"})
    disks.add("mmcblk8", f"{SLOT}/x", {"device/type": "MMC", "device/name": "eMMC"})
    disks.add("mmcblk7boot0", f"{SLOT}/b", {"removable": "1"})
    disks.add("sr7", f"{USB}/y", {"removable": "1"})
    assert main(["flash"]) == 0
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == ["/dev/mmcblk7", "/dev/sdq", "/dev/sds"]
    assert "/dev/sdq          32.0 GB  usb    Generic SD/MMC" in out
    assert err == "to write one: skiff flash /dev/mmcblk7\n"


def test_the_list_as_json_tells_why_not(disks: FakeDisks, capsys: pytest.CaptureFixture[str]) -> None:
    card_reader(disks)
    disks.mount("sdq1", "/media/my\\040card")
    assert main(["flash", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {
            "path": "/dev/sdq",
            "model": "Generic SD/MMC",
            "bytes": 32 * 10**9,
            "transport": "usb",
            "refused": "it is mounted at /media/my card",
        }
    ]


def test_no_removable_disk(disks: FakeDisks, capsys: pytest.CaptureFixture[str]) -> None:
    disks.add("sdp", SATA)
    assert main(["flash"]) == 0
    out, err = capsys.readouterr()
    assert out == "" and "no disk that can be taken out is here" in err
    assert main(["flash", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"


@pytest.mark.parametrize(
    "words",
    [
        ["pc/uefi"],
        ["pc/uefi", ""],
        [""],
        ["--image", "x.img.zst"],
        ["--yes"],
        ["--verify-only"],
        ["--wipe-persist"],
        ["--allow-internal"],
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_who_wants_to_write_has_to_name_a_device(
    disks: FakeDisks, capsys: pytest.CaptureFixture[str], words: list[str], there: bool
) -> None:
    """The disks are listed then too, but a script has to see that nothing was written."""
    if there:
        card_reader(disks)
    assert main(["flash", *words]) == 2
    out, err = capsys.readouterr()
    assert out.startswith("/dev/sdq") == there
    assert "error: no DEVICE is named" in err
    assert ("skiff flash /dev/sdq" in err) == there


Case = Callable[[FakeDisks], None]
# What is the matter with the disk, what is said, and of the remedy.
REFUSED: dict[str, tuple[Case, str, str]] = {
    "mounted": (lambda disks: disks.mount("sdq2", "/mnt/x"), "it is mounted at /mnt/x", "sudo umount /mnt/x"),
    "mounted by source": (
        # As btrfs on several disks.
        lambda disks: disks.mount("", "/mnt/x", "/dev/sdq1"),
        "it is mounted at /mnt/x",
        "umount",
    ),
    "mounted without partitions": (lambda disks: disks.mount("sdq", "/mnt/x"), "mounted at /mnt/x", "umount"),
    "root": (lambda disks: disks.mount("sdq2", "/"), "this machine runs from it (/)", "another disk"),
    "boot": (lambda disks: disks.mount("sdq1", "/boot/efi"), "runs from it (/boot/efi)", "another disk"),
    "usr": (lambda disks: disks.mount("sdq1", "/usr"), "this machine runs from it (/usr)", "another disk"),
    "swap": (lambda disks: disks.swap("sdq2"), "it is in use: swap on sdq2", "swapoff"),
}


@pytest.mark.parametrize(("case", "says", "remedy"), REFUSED.values(), ids=REFUSED)
def test_a_disk_in_use_is_refused(
    disks: FakeDisks, capsys: pytest.CaptureFixture[str], case: Case, says: str, remedy: str
) -> None:
    card_reader(disks)
    case(disks)
    assert main(["flash", "--yes", "/dev/sdq"]) == 2
    err = capsys.readouterr().err
    assert "/dev/sdq (Generic SD/MMC, 32.0 GB, usb): " in err
    assert says in err and remedy in err


def test_a_disk_under_lvm_is_the_one_that_the_machine_runs_from(
    disks: FakeDisks, capsys: pytest.CaptureFixture[str]
) -> None:
    disks.add("sdq", SATA, parts=2)
    disks.add("dm-7", "virtual", on="sdq2")
    disks.add("dm-8", "virtual", on="dm-7")
    assert main(["flash", "--yes", "--allow-internal", "/dev/sdq"]) == 2
    assert "it is in use: dm-7 on sdq2, dm-8 on dm-7" in capsys.readouterr().err
    disks.mount("dm-8", "/")
    assert main(["flash", "--yes", "--allow-internal", "/dev/sdq"]) == 2
    assert "this machine runs from it (/)" in capsys.readouterr().err


def test_a_loop_device_on_a_disk_counts(disks: FakeDisks, capsys: pytest.CaptureFixture[str]) -> None:
    card_reader(disks)
    disks.add("loop77", "virtual", {"loop/backing_file": "/dev/sdq"})
    assert main(["flash", "--yes", "/dev/sdq"]) == 2
    assert "it is in use: loop77 on sdq" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "files", "says"),
    [
        ("sdq", {"ro": "1"}, "it is read-only"),
        ("sdq", {"size": "0"}, "there is no card in it"),
        ("sdq", {"queue/logical_block_size": "4096"}, "it has sectors of 4096 bytes"),
        ("sdq", {}, ""),
        ("dm-7", {}, "made of other disks"),
        ("sr7", {}, "an optical drive"),
    ],
)
def test_disks_that_cannot_be_written(
    disks: FakeDisks, capsys: pytest.CaptureFixture[str], name: str, files: dict[str, str], says: str
) -> None:
    disks.add(name, USB, files)
    if not says:
        assert find_disk(Path("/dev", name), disks.host).refusal() is None
        return
    assert main(["flash", "--yes", f"/dev/{name}"]) == 2
    assert says in capsys.readouterr().err


def test_a_disk_inside_the_machine_needs_a_word_more(
    disks: FakeDisks, capsys: pytest.CaptureFixture[str]
) -> None:
    disks.add("sdq", SATA, {"device/model": "Inside"})
    assert main(["flash", "--yes", "/dev/sdq"]) == 2
    assert "--allow-internal" in capsys.readouterr().err
    # The next thing to be wrong: there is no image.
    assert main(["flash", "--yes", "--allow-internal", "--image", "/nosuch.img.zst", "/dev/sdq"]) == 2
    assert "/nosuch.img.zst: there is no such file" in capsys.readouterr().err
    assert main(["flash", "--yes", "--allow-internal", "--image", "/", "/dev/sdq"]) == 2
    assert "/: a folder\nhint: name the image in it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["/dev/sdq1"],
            "a partition; the image has partitions of its own\nhint: name the whole disk: /dev/sdq",
        ),
        (["/dev/sdz"], "/dev/sdz: there is no such device"),
        (["/dev/null"], "/dev/null: not a disk"),
        (["sdq"], "sdq: write it as a path\nhint: /dev/sdq"),
        (["--to", "card.img", "/etc"], "layer /etc: no layer.toml in this folder"),
        (["/dev/sdq", "--to", "file"], "DEVICE and --to exclude each other"),
        (["pc/uefi", "--image", "x", "/dev/sdq"], "LAYERS and --image exclude each other"),
        (["/dev/sdq", "pc/uefi"], "/dev/sdq: the device comes last"),
    ],
)
def test_words_that_are_wrong(
    disks: FakeDisks, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    card_reader(disks)
    assert main(["flash", "--yes", *words]) == 2
    assert says in capsys.readouterr().err


def test_nobody_to_ask_means_no(disks: FakeDisks, capsys: pytest.CaptureFixture[str]) -> None:
    card_reader(disks)
    assert main(["flash", "--image", "x.img.zst", "/dev/sdq"]) == 2
    assert "no terminal to ask at\nhint: add --yes" in capsys.readouterr().err


def test_what_this_very_machine_runs_from_is_refused() -> None:
    """On the real /sys: whatever disks there are can be described, and the one with `/` is refused."""
    host = Host()
    names = sorted(path.name for path in Path("/sys/block").glob("*"))
    found = [find_disk(Path("/dev", name.replace("!", "/")), host) for name in names]
    assert [disk.name for disk in found] == names
    assert {disk.name for disk in removable_disks(host)} <= set(names)
    number = Path("/").stat().st_dev
    link = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if not link.exists():
        pytest.skip("the root of this machine is on no disk")
    refused = [disk for disk in found if "/" in disk.mounts]
    assert refused
    assert all("this machine runs from it" in str(disk.refusal()) for disk in refused)
