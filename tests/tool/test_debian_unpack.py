"""Unpacking of packages, made and read by the real dpkg-deb."""

from __future__ import annotations

import gc
import hashlib
import subprocess
from pathlib import Path

import pytest

from skiff.builders.debian.unpack import FOLDER, Unpacked, unpack_all
from skiff.host.errors import UserError
from skiff.model.packages import Package

CONTROL = """\
Package: tide
Version: 1.0
Architecture: amd64
Maintainer: Nobody <nobody@example.org>
Description: a table of tides
"""


def _deb(folder: Path, *, bytes_left: int | None = None) -> Path:
    tree = folder / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(CONTROL)
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/tide").write_bytes(bytes(range(256)) * 4096)
    (tree / "usr/bin/tide").chmod(0o755)
    (tree / "usr/bin/ebb").symlink_to("tide")
    (tree / "usr/share/doc/tide").mkdir(parents=True)
    (tree / "usr/share/doc/tide/copyright").write_text("License: MIT\n")
    (tree / "usr/share/doc/ebb").symlink_to("flood")
    deb = folder / "tide.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Zxz", "-b", tree, deb], check=True, capture_output=True
    )
    if bytes_left is not None:
        deb.write_bytes(deb.read_bytes()[:bytes_left])
    return deb


def _unpack(deb: Path, cache: Path) -> list[Unpacked]:
    content = deb.read_bytes()
    sha = hashlib.sha256(content).hexdigest()
    package = Package("tide", "1.0", "amd64", sha, len(content), "main", "pool/tide.deb")
    return unpack_all([package], {sha: deb}, cache, lambda name: None)


def test_a_package_becomes_files_and_an_index(tmp_path: Path) -> None:
    [unpacked] = _unpack(_deb(tmp_path), tmp_path / "cache")
    entries = {entry.path: entry for entry in unpacked.index.entries}
    assert entries["usr/bin/tide"].mode == 0o755
    assert entries["usr/bin/ebb"].target == "tide"
    assert unpacked.index.licences == ("MIT",) and unpacked.index.documented_by == "flood"
    assert not [path for path in entries if path.startswith("usr/share/doc/")]
    gc.collect()  # A stream left open would be told of here, and fail the test.


@pytest.mark.parametrize("bytes_left", [0, 100, 400])
def test_a_package_that_is_cut_short_is_told_and_leaves_nothing(bytes_left: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tide\.deb: dpkg-deb could not read it"):
        _unpack(_deb(tmp_path, bytes_left=bytes_left), tmp_path / "cache")
    assert not list((tmp_path / "cache" / FOLDER).iterdir())
    gc.collect()
