"""The initramfs as `/init` finds it: what it mounts, and over what."""

from __future__ import annotations

from pathlib import Path

import pytest

from skiff.host.errors import UserError
from skiff.host.run import run
from skiff.image.initramfs import write_initramfs
from skiff.model.tree import Entry, Kind


def _unpacked(folder: Path, target: Path) -> Path:
    """The files of the first archive."""
    parts = {name: folder / f"{name}.squashfs" for name in ("0-system", "1-engine-x", "2-files")}
    for name, path in parts.items():
        path.write_text(name)
    busybox = Entry(Kind.FILE, 0o755, "busybox", source=b"x")
    first = write_initramfs(
        folder / "initramfs",
        early={"usr/bin/busybox": busybox},
        modules=[("loop", parts["2-files"])],
        parts=parts,
        first_parts={"0-system", "2-files"},
        epoch=1_700_000_000,
        level=19,
        cache=folder / "cache",
    )
    plain = run(["zstd", "-dcq"], input=(folder / "initramfs").read_bytes()[:first]).stdout
    target.mkdir()
    # Device files need root.
    run(["cpio", "-id", "--quiet", "--nonmatching", "dev/*"], input=plain, cwd=target)
    return target


def test_the_tables_of_mounts_hold_each_part_once_and_later_parts_over_earlier_ones(tmp_path: Path) -> None:
    unpacked = _unpacked(tmp_path, tmp_path / "unpacked")
    first = [line.split() for line in (unpacked / "first.fstab").read_text().splitlines()]
    root = {line.split()[1]: line.split() for line in (unpacked / "root.fstab").read_text().splitlines()}
    names = ["0-system", "1-engine-x", "2-files"]
    assert [fields[:3] for fields in root.values() if fields[2] == "squashfs"] == [
        [f"/parts/{name}.squashfs", f"/parts/{name}", "squashfs"] for name in names
    ]
    lower = "lowerdir=/parts/2-files:/parts/1-engine-x:/parts/0-system:/early"
    assert root["/root"][3].split(",")[0] == lower
    assert root["/root/run/skiff/image"][3] == f"ro,{lower}"
    # Six fields: the table is read by fstab's rules.
    assert {len(fields) for fields in (*first, *root.values())} == {6}


def test_the_places_of_all_mounts_are_there(tmp_path: Path) -> None:
    """Those below /run and /root come with what is mounted before."""
    unpacked = _unpacked(tmp_path, tmp_path / "unpacked")
    for table in ("first.fstab", "root.fstab"):
        for line in (unpacked / table).read_text().splitlines():
            place = line.split()[1]
            if not place.startswith(("/parts/", "/root/")):
                assert (unpacked / place.lstrip("/")).is_dir(), place


def test_the_first_archive_is_compressed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes most of a build of which only an overlay changed."""

    def made(busybox: bytes, part: str) -> bytes:
        (tmp_path / "files.squashfs").write_text(part)
        first = write_initramfs(
            tmp_path / "initramfs",
            early={"usr/bin/busybox": Entry(Kind.FILE, 0o755, "busybox", source=busybox)},
            modules=[],
            parts={"files": tmp_path / "files.squashfs"},
            first_parts={"files"},
            epoch=1_700_000_000,
            level=19,
            cache=tmp_path / "cache",
        )
        return (tmp_path / "initramfs").read_bytes()[:first]

    before = made(b"x", "before")
    monkeypatch.setenv("PATH", "")
    assert made(b"x", "after") == before
    with pytest.raises(UserError, match="zstd"):
        made(b"y", "after")
