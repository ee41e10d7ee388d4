"""Files of a layer on their way into the tree."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from skiff.builders.lay import scan
from skiff.host.errors import UserError


@pytest.mark.parametrize("name", ["etc/secret", "etc"])
def test_what_may_not_be_read_is_refused_by_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/secret").write_text("x")
    assert [path for path, _ in scan(tmp_path, "layer a/b")] == ["etc", "etc/secret"]
    # Root may read everything: the kernel's answer to others stands in.
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / name)
    with pytest.raises(UserError, match=f"{tmp_path / name}: no permission") as raised:
        list(scan(tmp_path, "layer a/b"))
    assert "take it out of the layer" in raised.value.hint


def test_what_is_no_file_is_refused_by_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe: neither file, folder nor link"):
        list(scan(tmp_path, "layer a/b"))


def test_a_link_that_leads_nowhere_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/only-on-the-device")
    assert [entry.target for _, entry in scan(tmp_path, "layer a/b")] == ["/etc/only-on-the-device"]
