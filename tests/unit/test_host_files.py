"""Files that are there whole or not at all, and folders of the cache that two builds finish at once."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import pytest

from skiff.host.files import keep_folder, link_or_copy, write_atomic


def test_a_file_that_is_not_for_everybody_never_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    write = Path.write_bytes

    def watched(self: Path, data: bytes) -> int:
        written = write(self, data)
        seen.append(self.stat().st_mode & 0o777)
        return written

    monkeypatch.setattr(Path, "write_bytes", watched)
    write_atomic(tmp_path / "settings.tar", b"a private key", mode=0o600)
    assert seen == [0o600]
    assert (tmp_path / "settings.tar").read_bytes() == b"a private key"


def test_nothing_is_left_of_a_file_that_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError("no room")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no room"):
        write_atomic(tmp_path / "file", b"text")
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_quicker_process_stays(tmp_path: Path) -> None:
    for name in ("mine", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    keep_folder(tmp_path / "theirs", tmp_path / "kept")
    keep_folder(tmp_path / "mine", tmp_path / "kept")
    assert (tmp_path / "kept/file").read_text() == "theirs"
    with pytest.raises(FileNotFoundError):
        keep_folder(tmp_path / "mine", tmp_path / "nowhere/kept")


def test_two_threads_may_write_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when several CPUs ask for the same list; the other one comes between all steps of the first."""
    others: list[Thread] = []
    real = Path.write_bytes

    def write_bytes(path: Path, data: bytes) -> int:
        written = real(path, data)
        if not others:
            others.append(Thread(target=write_atomic, args=(tmp_path / "list", b"other")))
            others[0].start()
            others[0].join()
        return written

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    write_atomic(tmp_path / "list", b"first")
    assert (tmp_path / "list").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["list"]


@pytest.mark.parametrize("links", [True, False])
def test_a_second_name_outlives_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refused(self: Path, target: Path) -> None:
        raise OSError("another file system")

    if not links:
        monkeypatch.setattr(Path, "hardlink_to", refused)
    (tmp_path / "one").write_bytes(b"kernel")
    link_or_copy(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two").samefile(tmp_path / "one") == links
    (tmp_path / "one").unlink()
    assert (tmp_path / "two").read_bytes() == b"kernel"
