"""cpio, squashfs and parts: the same content gives the same bytes, checked by other programs."""

from __future__ import annotations

import io
import os
from pathlib import Path

import msgspec
import pytest

from skiff.host.run import CommandError, run
from skiff.image.cpio import write_cpio
from skiff.image.parts import FILTERED, OWN_PART, small_level, split
from skiff.image.squashfs import Compression, pack_part
from skiff.image.treemap import squarify
from skiff.model.arch import Arch
from skiff.model.recipe import Recipe
from skiff.model.tree import Entry, Kind, Tree

ZSTD = Compression("zstd", "128K")


def _entries(data: bytes = b"hello\n") -> dict[str, Entry]:
    return {
        "etc": Entry(Kind.DIR, 0o755, "skiff"),
        "etc/shadow": Entry(Kind.FILE, 0o640, "skiff", gid=42, source=data),
        "etc/link": Entry(Kind.LINK, 0o777, "skiff", target="shadow"),
    }


def test_squashfs_holds_owners_and_modes_without_root(tmp_path: Path) -> None:
    made = pack_part(_entries(), ZSTD, 1_700_000_000, tmp_path)
    listing = run(["unsquashfs", "-lln", made]).stdout.decode()
    shadow = next(line for line in listing.splitlines() if line.endswith("/etc/shadow"))
    assert shadow.startswith("-rw-r----- 0/42 ")
    assert "etc/link -> shadow" in listing


def test_squashfs_is_the_same_to_the_byte(tmp_path: Path) -> None:
    first = pack_part(_entries(), ZSTD, 1_700_000_000, tmp_path / "a")
    second = pack_part(_entries(), ZSTD, 1_700_000_000, tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    assert first.name == second.name


def test_squashfs_has_the_image_s_time_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pack_part(_entries(), ZSTD, 1_700_000_000, tmp_path / "a")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1600000000")
    second = pack_part(_entries(), ZSTD, 1_700_000_000, tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()


def test_squashfs_of_other_content_has_another_name(tmp_path: Path) -> None:
    first = pack_part(_entries(), ZSTD, 1, tmp_path)
    assert pack_part(_entries(b"other\n"), ZSTD, 1, tmp_path) != first
    assert pack_part(_entries(), ZSTD, 2, tmp_path) != first


def test_nothing_half_made_stays_when_packing_fails(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="nonsense"):
        pack_part(_entries(), Compression("xz", "1M", ("-Xbcj", "nonsense")), 1, tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_cpio_is_read_by_cpio(tmp_path: Path) -> None:
    out = io.BytesIO()
    write_cpio(out, _entries().items(), 1_700_000_000)
    listing = run(["cpio", "-tvn", "--quiet"], input=out.getvalue()).stdout.decode().splitlines()
    assert [line.split()[-1] for line in listing] == ["etc", "etc/shadow", "shadow"]
    assert listing[1].split()[:4] == ["-rw-r-----", "1", "0", "42"]


def _recipe(**origins: str) -> Recipe:
    return Recipe(arch=Arch.AMD64, layers=(), origins={f"packages[{k}]": v for k, v in origins.items()})


def test_large_packages_of_a_layer_make_a_part_of_their_own() -> None:
    tree = Tree()
    tree.add("usr/bin/big", Entry(Kind.FILE, 0o755, "big", source=bytes(OWN_PART)))
    tree.add("usr/bin/small", Entry(Kind.FILE, 0o755, "small", source=b"x"))
    tree.add("usr/lib/dep", Entry(Kind.FILE, 0o755, "dep", source=b"x"))
    tree.add("etc/mine", Entry(Kind.FILE, 0o644, "layer a/b", source=b"x"))
    parts = split(tree, _recipe(big="engine/x", small="util/y"), frozenset())
    assert [part.name for part in parts] == ["0-system", "1-engine-x", "2-files"]
    system, engine, files = ({path for path, e in part.entries.items() if e.size} for part in parts)
    assert (system, engine, files) == ({"usr/bin/small", "usr/lib/dep"}, {"usr/bin/big"}, {"etc/mine"})
    assert [part.first for part in parts] == [True, False, True]


def test_a_part_has_a_name_that_can_be_mounted_whatever_its_layer_is_called() -> None:
    tree = Tree()
    layers = {"one": "my layers/a:b,ö", "two": "files", "three": "system"}
    for name in (*layers, "other"):
        tree.add(f"usr/bin/{name}", Entry(Kind.FILE, 0o755, name, source=bytes(OWN_PART)))
    tree.add("etc/mine", Entry(Kind.FILE, 0o644, "layer files", source=b"x"))
    parts = split(tree, _recipe(**layers), frozenset())
    assert [(part.name, [path for path, entry in part.entries.items() if entry.size]) for part in parts] == [
        ("0-system", ["usr/bin/other"]),
        ("1-files", ["usr/bin/two"]),
        ("2-my-layers-a-b--", ["usr/bin/one"]),
        ("3-system", ["usr/bin/three"]),
        ("4-files", ["etc/mine"]),
    ]
    assert [part.first for part in parts] == [True, False, False, False, True]


def test_only_the_largest_parts_go_without_the_filter(tmp_path: Path) -> None:
    sizes = {"large": OWN_PART, "huge": FILTERED + 1}
    tree = Tree()
    for name, size in sizes.items():
        (tmp_path / name).touch()
        os.truncate(tmp_path / name, size)
        tree.add(f"usr/bin/{name}", Entry(Kind.FILE, 0o755, name, source=tmp_path / name))
    parts = split(tree, _recipe(large="engine/large", huge="engine/huge"), frozenset())
    filtered = {part.name: "-Xbcj" in part.compression.words for part in parts}
    assert filtered == {"0-system": True, "1-engine-huge": False, "2-engine-large": True, "3-files": False}


def test_programs_that_start_sooner(tmp_path: Path) -> None:
    tree = Tree()
    tree.add("usr/bin/huge", Entry(Kind.FILE, 0o755, "huge", source=bytes(OWN_PART)))
    for compressor, level, small in (("zstd", "15", "19"), ("zstd:3", "3", "3")):
        recipe = msgspec.structs.replace(_recipe(huge="engine/huge"), compressor=compressor)
        system, huge, files = (part.compression for part in split(tree, recipe, frozenset()))
        assert system == huge == Compression("zstd", "256K", ("-Xcompression-level", level))
        assert files == Compression("zstd", "128K", ("-Xcompression-level", small))
        assert small_level(recipe) == int(small)


def test_a_folder_is_the_same_in_each_part_that_has_something_in_it() -> None:
    tree = Tree()
    private = Entry(Kind.DIR, 0o700, "openssl")
    tree.add("etc/ssl/private", private)
    tree.add("etc/ssl/private/mine", Entry(Kind.LINK, 0o777, "layer a/b", target="/mnt/persist/mine"))
    system, files = split(tree, _recipe(), frozenset())
    assert system.entries["etc/ssl/private"] == files.entries["etc/ssl/private"] == private
    # Made before what is in it.
    assert list(files.entries)[-1] == "etc/ssl/private/mine"


def test_early_files_are_in_no_part() -> None:
    tree = Tree()
    tree.add("usr/bin/busybox", Entry(Kind.FILE, 0o755, "busybox", source=b"x"))
    parts = split(tree, _recipe(), frozenset({"usr/bin/busybox"}))
    assert all("usr/bin/busybox" not in part.entries for part in parts)


def test_treemap_fields_fill_the_box_without_overlap() -> None:
    items = [(float(size), str(size)) for size in (6, 6, 4, 3, 2, 2, 1)]
    fields = [box for _, box in squarify(items, (0.0, 0.0, 6.0, 4.0))]
    assert sum(width * height for _, _, width, height in fields) == pytest.approx(24.0)
    for x, y, width, height in fields:
        assert x >= 0 and y >= 0 and x + width <= 6.0 + 1e-9 and y + height <= 4.0 + 1e-9
