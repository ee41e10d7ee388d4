"""The host's own mirror: apt is asked once, and again when its settings change."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from skiff.host.mirror import host_mirror


@pytest.fixture
def asked(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for apt-get that answers with the first line of a file, and counts in another."""
    apt = tmp_path / "bin" / "apt-get"
    apt.parent.mkdir()
    apt.write_text(f"#!/bin/sh\necho x >>{tmp_path}/asked\ncat {tmp_path}/mirror 2>/dev/null\n")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{apt.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    return tmp_path / "asked"


def test_apt_is_asked_once(asked: Path, tmp_path: Path) -> None:
    (tmp_path / "mirror").write_text("http://e.x/debian trixie main\n")
    assert [host_mirror() for _ in range(3)] == ["http://e.x/debian"] * 3
    assert asked.read_text() == "x\n"


def test_other_settings_are_asked_for_anew(asked: Path, tmp_path: Path) -> None:
    (tmp_path / "mirror").write_text("http://e.x/debian trixie main\n")
    host_mirror()
    (tmp_path / "mirror").write_text("http://f.x/debian trixie main\n")
    (tmp_path / "apt.conf").write_text("# changed\n")
    assert host_mirror() == "http://f.x/debian"


def test_settings_for_root_alone_are_no_trouble(
    asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mirror").write_text("http://e.x/debian trixie main\n")
    secret = tmp_path / "apt.conf"
    secret.write_text('Acquire::http::Proxy "http://me:password@proxy";\n')
    access, opened = os.access, Path.open

    def refuse(self: Path, *words: Any, **more: Any) -> Any:
        if self == secret:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return opened(self, *words, **more)

    monkeypatch.setattr(os, "access", lambda path, mode: path != secret and access(path, mode))
    monkeypatch.setattr(Path, "open", refuse)
    assert host_mirror() == "http://e.x/debian"


def test_no_answer_is_not_kept(asked: Path, tmp_path: Path) -> None:
    assert host_mirror() is None
    (tmp_path / "mirror").write_text("http://e.x/debian trixie main\n")
    assert host_mirror() == "http://e.x/debian"
