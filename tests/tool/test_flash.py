"""`skiff flash` to files that stand for cards, and to a loop device: a small disk image, really written."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from skiff.__main__ import main
from skiff.host.disks import Host
from skiff.host.errors import UserError
from skiff.host.run import run, which
from skiff.machine.flash import pace
from skiff.machine.flash_image import Packed, mapped_parts, open_packed
from skiff.machine.flash_target import Target, open_target
from skiff.model.disk import MIB
from tests.tool.fake_disks import USB, FakeDisks
from tests.tool.test_disk import UBOOT, UEFI, write

CARD = 120 * MIB
# Without the quarter of a second that it waits for udev.
SFDISK = ("sfdisk", "-q", "--no-tell-kernel")
Says = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Packed images: for UEFI (GPT, 80 MiB) and for U-Boot (DOS table, 68 MiB)."""
    folder = tmp_path_factory.mktemp("images")
    return {
        "uefi": write(folder, UEFI, "one").packed.path,
        "uboot": write(folder, UBOOT, "two").packed.path,
    }


@pytest.fixture
def image(made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the UEFI image with its map and checksum, to damage at will."""
    monkeypatch.setenv("SKIFF_WORKSPACES", str(tmp_path / "workspaces"))
    return Path(shutil.copytree(made["uefi"].parent, tmp_path / "image")) / made["uefi"].name


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A card that was never used."""
    path = tmp_path / "card"
    with path.open("wb") as file:
        file.truncate(CARD)
    return path


def flash(image: Path, card: Path, *words: str) -> int:
    return main(["flash", "--quiet", "--yes", "--image", str(image), "--to", str(card), *words])


def region(path: Path, start: int, size: int = -1) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(size)


def put(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def has_table(card: Path) -> bool:
    return run(["sfdisk", "--json", card], check=False).returncode == 0


def add_persist(card: Path, start: int, size: int, *, table: bool = True) -> None:
    """A persist partition with files in it, as the device makes it. Bytes."""
    if table:
        gpt = b"gpt" in run(["sfdisk", "--json", card]).stdout
        if gpt:
            run([*SFDISK, "--relocate", "gpt-bak-std", card])
        line = f"start={start // 512}, size={size // 512}" + (", name=persist" if gpt else "")
        run([*SFDISK, "--append", card], input=line.encode())
    tree = card.parent / "tree"
    (tree / "skiff/keys").mkdir(parents=True, exist_ok=True)
    (tree / "skiff/hostname").write_text("boat\n")
    (tree / "large").write_bytes(os.urandom(3 * MIB))
    words = ["mke2fs", "-q", "-F", "-t", "ext4", "-L", "persist", "-d", str(tree)]
    run([*words, "-E", f"offset={start}", card, f"{size // 1024}k"])


def assert_persist_is_whole(card: Path, start: int) -> None:
    """With the programs of e2fsprogs, on the partition alone."""
    alone = card.parent / "alone"
    alone.write_bytes(region(card, start))
    run(["e2fsck", "-f", "-n", alone])
    assert run(["debugfs", "-R", "cat /skiff/hostname", alone]).stdout == b"boat\n"
    large = run(["debugfs", "-R", "cat /large", alone]).stdout
    assert large == (card.parent / "tree/large").read_bytes()


def assert_holds(card: Path, image: Path) -> None:
    """Every mapped block, compared by bmaptool's reading of image and map."""
    plain = card.parent / "plain"
    run(["bmaptool", "-q", "copy", "--bmap", image.with_suffix(".bmap"), image, plain])
    for one in open_packed(image).ranges:
        assert region(card, one.start, one.end - one.start) == region(plain, one.start, one.end - one.start)


def test_a_new_file_is_written_and_stays_sparse(image: Path, tmp_path: Path, capsys: Says) -> None:
    card = tmp_path / "new"
    assert flash(image, card) == 0
    assert "read back in" in capsys.readouterr().out
    assert_holds(card, image)
    run(["sfdisk", "--verify", card])
    assert card.stat().st_size == 80 * MIB and card.stat().st_blocks * 512 < 4 * MIB
    assert flash(image, card, "--verify-only") == 0
    assert "every block that matters is right" in capsys.readouterr().out


def test_the_answer_as_json(image: Path, card: Path, capsys: Says) -> None:
    assert flash(image, card, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["path"] == str(card) and answer["written"] == open_packed(image).mapped
    assert (answer["persist_kept"], answer["ejected"]) == (False, False)


@pytest.mark.parametrize("kind", ["uefi", "uboot"])
def test_persist_is_kept(made: dict[str, Path], card: Path, kind: str, capsys: Says) -> None:
    """And not one byte behind the image changes, the partition table's copy at the card's end included."""
    image = made[kind]
    behind = open_packed(image).bytes
    assert flash(image, card) == 0
    add_persist(card, behind, 24 * MIB)
    put(card, 20 * MIB, b"damage")
    before = region(card, behind)
    assert flash(image, card) == 0
    assert "persist: kept" in capsys.readouterr().out
    assert_holds(card, image)
    assert region(card, behind) == before
    assert_persist_is_whole(card, behind)


def test_persist_is_not_forgotten_after_an_interruption(
    image: Path, made: dict[str, Path], card: Path, monkeypatch: pytest.MonkeyPatch, capsys: Says
) -> None:
    assert flash(image, card) == 0
    add_persist(card, 80 * MIB, 24 * MIB)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3)
        assert flash(image, card) == 130
    # There is no table any more; the first block remembers.
    assert not has_table(card)
    assert flash(made["uboot"], card) == 2
    assert "it begins at 80 MiB, and the device looks for it at 68 MiB" in capsys.readouterr().err
    assert flash(image, card) == 0
    assert "persist: kept" in capsys.readouterr().out
    assert_persist_is_whole(card, 80 * MIB)


def interrupt_at(patch: pytest.MonkeyPatch, count: int) -> list[int]:
    """Have Ctrl-C come instead of a write; the positions of those before."""
    original = Target.write
    places: list[int] = []

    def interrupted(self: Target, at: int, data: bytes) -> None:
        if len(places) == count:
            raise KeyboardInterrupt
        places.append(at)
        original(self, at, data)

    patch.setattr(Target, "write", interrupted)
    return places


def test_an_interruption_leaves_no_card_that_looks_whole(
    image: Path, card: Path, monkeypatch: pytest.MonkeyPatch, capsys: Says
) -> None:
    assert flash(image, card) == 0
    places = interrupt_at(monkeypatch, 2)
    assert flash(image, card) == 130
    err = capsys.readouterr().err
    assert f"{card} is not complete, and nothing starts from it" in err
    assert places[0] == 0 and not has_table(card)
    assert flash(image, card, "--verify-only") == 2
    assert "writing it was interrupted" in capsys.readouterr().err


def test_the_partition_table_is_written_last(
    image: Path, card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, tables = Target.write, []

    def seen(self: Target, at: int, data: bytes) -> None:
        original(self, at, data)
        tables.append((at, has_table(card)))

    monkeypatch.setattr(Target, "write", seen)
    assert flash(image, card) == 0
    assert tables[-1] == (0, True)
    assert len(tables) > 3 and not any(table for _, table in tables[:-1])


def test_an_interruption_leaves_no_new_file(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at(monkeypatch, 2)
    assert flash(image, tmp_path / "new") == 130
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("at", [0, MIB * 16 + 5])
def test_a_flipped_byte_on_the_medium_is_caught_when_reading_back(
    image: Path, card: Path, at: int, monkeypatch: pytest.MonkeyPatch, capsys: Says
) -> None:
    """A medium that keeps something else than what it was given."""
    original = Target.sync

    def flipping(self: Target) -> None:
        original(self)
        put(card, at, bytes([region(card, at, 1)[0] ^ 1]))

    monkeypatch.setattr(Target, "sync", flipping)
    assert flash(image, card) == 2
    err = capsys.readouterr().err
    assert f"{card} is not complete" in err and "worn out" in err
    assert not has_table(card)


def test_a_flipped_byte_is_found_later(image: Path, card: Path, capsys: Says) -> None:
    assert flash(image, card) == 0
    put(card, 16 * MIB + 5, bytes([region(card, 16 * MIB + 5, 1)[0] ^ 1]))
    assert flash(image, card, "--verify-only") == 2
    err = capsys.readouterr().err
    assert "what is on it is not the image: bytes 16777216 to " in err


def test_what_the_map_leaves_out_may_be_anything(image: Path, card: Path) -> None:
    put(card, 0, b"\xff" * 90 * MIB)
    assert flash(image, card) == 0
    assert_holds(card, image)
    assert flash(image, card, "--verify-only") == 0


def test_a_blank_card_is_told_as_such(image: Path, card: Path, capsys: Says) -> None:
    assert flash(image, card, "--verify-only") == 2
    assert "it is blank" in capsys.readouterr().err


def test_wiping_persist(image: Path, card: Path, capsys: Says) -> None:
    assert flash(image, card) == 0
    add_persist(card, 80 * MIB, 24 * MIB)
    assert flash(image, card, "--wipe-persist") == 0
    assert "persist: made on the first start" in capsys.readouterr().out
    # What the device looks for there (persist-create.sh).
    assert run(["blkid", "-p", "-O", str(80 * MIB), card], check=False).returncode == 2


def test_what_another_system_left_behind_the_image_is_cleared(image: Path, card: Path) -> None:
    """Else the device would find it, and leave it alone."""
    run(["mke2fs", "-q", "-F", "-L", "other", "-E", f"offset={80 * MIB}", card, "64m"])
    assert flash(image, card) == 0
    assert run(["blkid", "-p", "-O", str(80 * MIB), card], check=False).returncode == 2


Change = Callable[[Path], None]
CANNOT_KEEP: dict[str, tuple[Change, str]] = {
    "the image reaches into it": (
        lambda card: add_persist(card, 70 * MIB, 24 * MIB),
        "it begins at 70 MiB, and the image reaches to 80 MiB",
    ),
    "the device would not look there": (
        lambda card: add_persist(card, 90 * MIB, 24 * MIB),
        "it begins at 90 MiB, and the device looks for it at 80 MiB",
    ),
    "no room for the GPT's copy": (
        lambda card: add_persist(card, 80 * MIB, CARD - 80 * MIB),
        "it reaches to the disk's very end",
    ),
}


@pytest.mark.parametrize(("change", "says"), CANNOT_KEEP.values(), ids=CANNOT_KEEP)
def test_persist_that_cannot_be_kept_stops_it(
    made: dict[str, Path], card: Path, change: Change, says: str, capsys: Says
) -> None:
    """As on the card of another board, with a table of the old kind."""
    run([*SFDISK, card], input=b"label: dos\nstart=8192, size=16384, type=c\n")
    change(card)
    before = hashlib.sha256(card.read_bytes()).digest()
    assert flash(made["uefi"], card) == 2
    err = capsys.readouterr().err
    assert says in err and "--wipe-persist" in err
    assert hashlib.sha256(card.read_bytes()).digest() == before
    assert flash(made["uefi"], card, "--wipe-persist") == 0


def test_persist_whose_file_system_is_damaged_stops_it(image: Path, card: Path, capsys: Says) -> None:
    assert flash(image, card) == 0
    add_persist(card, 80 * MIB, 24 * MIB)
    put(card, 80 * MIB + 1024, bytes(1024))
    assert flash(image, card) == 2
    assert "its file system cannot be read" in capsys.readouterr().err


def resum(image: Path) -> None:
    """Make the checksum file agree again."""
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    image.with_name(f"{image.name}.sha256").write_text(f"{digest}  {image.name}\n")


def remap(image: Path, old: str, new: str) -> None:
    """Change the block map, its own checksum included."""
    file = image.with_suffix(".bmap")
    text = file.read_text()
    assert old in text
    own = text.partition("<BmapFileChecksum> ")[2][:64]
    text = text.replace(old, new, 1).replace(own, "0" * 64, 1)
    file.write_text(text.replace("0" * 64, hashlib.sha256(text.encode()).hexdigest(), 1))


def cut(image: Path) -> None:
    image.write_bytes(image.read_bytes()[:-50])


def cut_and_resum(image: Path) -> None:
    cut(image)
    resum(image)


def no_image(image: Path) -> None:
    image.write_bytes(b"x" * 99999)
    resum(image)


def no_map(image: Path) -> None:
    image.with_suffix(".bmap").write_text("x")


def no_sum(image: Path) -> None:
    image.with_name(f"{image.name}.sha256").write_text("hello")


def other_content(image: Path) -> None:
    plain = image.with_name("plain")
    run(["zstd", "-dqf", image, "-o", plain])
    put(plain, 16 * MIB + 5, b"!")
    run(["zstd", "-qf", plain, "-o", image])
    resum(image)


BAD: dict[str, tuple[Change, str]] = {
    "damaged": (lambda image: put(image, 100, b"!!!!"), "damaged: its checksum is not the one in"),
    "cut short": (cut, "damaged: its checksum is not the one in"),
    "cannot be unpacked": (cut_and_resum, "damaged: it cannot be unpacked to its end"),
    "no packed image": (no_image, "damaged: it cannot be unpacked to its end"),
    "not there": (lambda image: image.unlink(), "there is no such file"),
    "map not there": (lambda image: image.with_suffix(".bmap").unlink(), "there is no block map"),
    "map is no XML": (
        no_map,
        "not a good block map",
    ),
    "map changed": (lambda image: put(image.with_suffix(".bmap"), 300, b"9"), "not a good block map"),
    "map without the table": (
        lambda image: remap(image, "> 0-4 <", "> 1-4 <"),
        "the first block is not in it",
    ),
    "map reaches too far": (lambda image: remap(image, "-20479", "-99999"), "blocks outside of the image"),
    "map with other blocks": (
        lambda image: remap(image, "<BlockSize> 4096", "<BlockSize> 512"),
        "blocks of 4096 bytes",
    ),
    "map of another image": (other_content, "image and map do not belong together"),
    "checksum file is none": (
        no_sum,
        "not a checksum file",
    ),
}


@pytest.mark.parametrize(("change", "says"), BAD.values(), ids=BAD)
def test_bad_images(image: Path, tmp_path: Path, change: Change, says: str, capsys: Says) -> None:
    change(image)
    assert flash(image, tmp_path / "new") == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_an_image_that_is_bad_at_once_costs_the_card_nothing(image: Path, card: Path) -> None:
    put(card, 0, b"precious")
    put(image, 100, b"!!!!")
    assert flash(image, card) == 2
    assert region(card, 0, 8) == b"precious"


def test_without_checksum_file_the_map_is_enough(image: Path, card: Path) -> None:
    image.with_name(f"{image.name}.sha256").unlink()
    assert flash(image, card) == 0


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("small", "too small: it has 1.0 MB, the image needs 83.9 MB"),
        ("folder", "Is a directory"),
        ("nosuch/file", "the folder is not there"),
        ("/dev/null", "not a plain file"),
    ],
)
def test_bad_targets(image: Path, tmp_path: Path, place: str, says: str, capsys: Says) -> None:
    (tmp_path / "small").write_bytes(bytes(10**6))
    (tmp_path / "folder").mkdir()
    assert flash(image, tmp_path / place) == 2
    assert says in capsys.readouterr().err
    assert (tmp_path / "small").read_bytes() == bytes(10**6)


def test_two_at_once_on_the_same_card(image: Path, card: Path, capsys: Says) -> None:
    with open_target(card, None, MIB, host=Host(), writable=True, sudo=""):
        assert flash(image, card) == 2
    assert "another program is busy with it" in capsys.readouterr().err


def test_without_permission_the_way_with_sudo_is_told(
    image: Path, card: Path, monkeypatch: pytest.MonkeyPatch, capsys: Says
) -> None:
    original = os.open

    def refused(path: Path, flags: int, mode: int = 0o777) -> int:
        if path == card and flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return original(path, flags, mode)

    monkeypatch.setattr(os, "open", refused)
    assert flash(image, card, "--wipe-persist") == 2
    err = capsys.readouterr().err
    assert "you have no permission to write it" in err
    assert "hint: sudo " in err and f"flash --image {image} --to {card} --wipe-persist --yes\n" in err


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EIO, "Input/output error; it is not complete"),
        # The disk that the file is on, and no fault of a card.
        (errno.ENOSPC, "No space left on device; it is not complete\nhint: free some space\n"),
    ],
)
def test_what_fails_while_it_is_written(
    number: int, said: str, image: Path, card: Path, monkeypatch: pytest.MonkeyPatch, capsys: Says
) -> None:
    def failing(self: Target) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Target, "sync", failing)
    assert flash(image, card) == 2
    assert f"{card}: {said}" in capsys.readouterr().err


def test_a_disk_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Says) -> None:
    monkeypatch.setattr(Path, "is_block_device", lambda _: True)
    # Before anything is built: no layers are chosen here.
    assert main(["flash", "--yes", "--to", str(tmp_path / "sdx")]) == 2
    assert "not a plain file\nhint: a disk is named without --to" in capsys.readouterr().err


# What becomes of a card while the image is built, and what is said of it.
MEANWHILE: dict[str, tuple[Callable[[FakeDisks], None], str]] = {
    "nothing": (lambda _: None, ""),
    "another model": (lambda disks: disks.tell("sdq", "device/model", "Backup"), "no longer the disk"),
    "another size": (lambda disks: disks.tell("sdq", "size", "3907029168"), "no longer the disk"),
    "another card like it": (lambda disks: disks.tell("sdq", "diskseq", "8"), "no longer the disk"),
    "other sectors": (lambda disks: disks.tell("sdq", "queue/logical_block_size", "4096"), "no longer the"),
    "another number": (lambda disks: disks.tell("sdq", "dev", "8:99"), "no longer the disk"),
    "gone": (lambda disks: disks.host.block("sdq").unlink(), "there is no such device"),
    "mounted": (lambda disks: disks.mount("sdq1", "/mnt/x"), "it is mounted at /mnt/x"),
    "read-only": (lambda disks: disks.tell("sdq", "ro", "1"), "it is read-only"),
}


@pytest.mark.parametrize(("change", "says"), MEANWHILE.values(), ids=MEANWHILE)
def test_another_disk_in_its_place_after_the_build_is_not_written(
    image: Path,
    card: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Says,
    change: Callable[[FakeDisks], None],
    says: str,
) -> None:
    disks = FakeDisks(tmp_path / "machine")
    disks.add("sdq", USB, {"removable": "1", "diskseq": "7", "device/model": "Reader"}, parts=2)
    number = (disks.host.block("sdq") / "dev").read_text().strip()
    monkeypatch.setattr("skiff.cli.flash.Host", lambda: disks.host)
    opened: list[int] = []
    plain_open, plain_stat = os.open, os.fstat

    def open_card(path: Path, flags: int, mode: int = 0o777) -> int:
        if path != Path("/dev/sdq"):
            return plain_open(path, flags, mode)
        opened.append(plain_open(card, flags & ~os.O_EXCL, mode))
        return opened[-1]

    def stat_card(fd: int) -> object:
        if fd not in opened:
            return plain_stat(fd)
        return SimpleNamespace(st_mode=stat.S_IFBLK, st_rdev=os.makedev(*map(int, number.split(":"))))

    def built(path: Path) -> Packed:
        """It stands for the hours of a build."""
        change(disks)
        return open_packed(path)

    monkeypatch.setattr(os, "open", open_card)
    monkeypatch.setattr(os, "fstat", stat_card)
    monkeypatch.setattr("skiff.cli.flash.open_packed", built)
    assert main(["flash", "-q", "-y", "--image", str(image), "/dev/sdq"]) == (2 if says else 0)
    assert opened and says in capsys.readouterr().err
    assert (card.stat().st_blocks == 0) == bool(says)


class Terminal(io.StringIO):
    """Standard input with somebody at it."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("n", 2), ("", 2)])
def test_one_question_tells_what_is_kept_and_what_is_lost(
    image: Path, card: Path, answer: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: Says
) -> None:
    assert flash(image, card) == 0
    add_persist(card, 80 * MIB, 24 * MIB)
    run([*SFDISK, "--append", card], input=f"start={106 * MIB // 512}, name=mine".encode())
    put(card, 16 * MIB, b"old")
    monkeypatch.setattr(sys, "stdin", Terminal(f"{answer}\n"))
    assert main(["flash", "-q", "--image", str(image), "--to", str(card)]) == status
    out, err = capsys.readouterr()
    assert f"{card}: a file, 125.8 MB" in err
    assert [line.split()[-1] for line in err.splitlines() if line.startswith("   ")] == [
        "anew",
        "kept",
        "LOST",
    ]
    assert f"Write {image.name} to {card}?" in out + err
    assert (region(card, 16 * MIB, 3) == b"old") == (status == 2)


def test_a_new_file_needs_no_question(image: Path, tmp_path: Path) -> None:
    assert main(["flash", "-q", "--image", str(image), "--to", str(tmp_path / "new")]) == 0


def test_pieces_are_large_aligned_and_only_those_of_the_map(image: Path) -> None:
    packed = open_packed(image)
    parts = list(mapped_parts(packed))
    assert sum(len(part) for _, part in parts) == packed.mapped < packed.bytes / 10
    assert all(at % 4096 == 0 for at, _ in parts)
    with pytest.raises(UserError, match="no block map"):
        open_packed(image.rename(image.with_name("x.img.zst")))


@pytest.mark.parametrize(
    ("done", "seconds", "says"),
    [
        (0, 0.0, "0.0 of 100.0 MB"),
        (25_000_000, 2.0, "25.0 of 100.0 MB, 12.5 MB/s, 6 s left"),
        (1_000_000, 1.0, "1.0 of 100.0 MB, 1.0 MB/s, 1 min 39 s left"),
    ],
)
def test_the_pace(done: int, seconds: float, says: str) -> None:
    assert pace(done, 100_000_000, seconds) == says


@pytest.mark.parametrize(
    ("to", "what", "remedy"),
    [
        ("no/where.img", "the folder is not there", "in a folder that is there"),
        (".", "cannot be opened", "name a file"),
    ],
)
def test_what_can_be_no_file_is_told_with_the_remedy(
    image: Path, to: str, what: str, remedy: str, capsys: Says
) -> None:
    assert main(["flash", "-q", "-y", "--image", str(image), "--to", to]) == 2
    said = capsys.readouterr().err
    assert f"{to}: {what}" in said and remedy in said


def test_a_folder_that_is_not_there_is_told_before_anything_is_built(tmp_path: Path, capsys: Says) -> None:
    # No layers are chosen here.
    assert main(["flash", "--yes", "--to", str(tmp_path / "no/where.img")]) == 2
    assert "no/where.img: the folder is not there" in capsys.readouterr().err


@contextlib.contextmanager
def loop_device(file: Path) -> Iterator[Path]:
    """A block device made of a file, where this machine can do that."""
    done = run(["losetup", "--find", "--show", file], check=False) if which("losetup") else None
    if os.geteuid() != 0 or done is None or done.returncode != 0:
        pytest.skip("no loop devices here")
    device = Path(done.stdout.decode().strip())
    try:
        yield device
    finally:
        run(["losetup", "--detach", device])


def test_a_block_device(image: Path, card: Path, capsys: Says) -> None:
    with loop_device(card) as device:
        words = ["flash", "-q", "-y", "--allow-internal", "--image", str(image), str(device)]
        assert main(words) == 0
        add_persist(card, 80 * MIB, 24 * MIB)
        held = os.open(device, os.O_RDONLY | os.O_EXCL)
        try:
            assert main(words) == 2
        finally:
            os.close(held)
        assert "cannot be opened: Device or resource busy" in capsys.readouterr().err
        assert main(words) == 0
        assert main([*words, "--verify-only"]) == 0
        assert "persist: kept" in capsys.readouterr().out
    assert_holds(card, image)
    assert_persist_is_whole(card, 80 * MIB)
