"""Build sources: their fingerprint changes exactly when the build may; base images; errors in plain words."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from skiff_device.common import run
from skiff_device.common.errors import EngineDown
from skiff_device.core import bases, desired, engine, source
from skiff_device.core.model import Build, Container
from skiff_device.core.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = Paths(tmp_path)
    (found.persist / "src/sub").mkdir(parents=True)
    (found.persist / "src/Dockerfile").write_text("FROM x\n")
    (found.persist / "src/sub/file").write_text("one")
    return found


@pytest.mark.parametrize(
    "change",
    [
        lambda top: (top / "sub/file").write_text("two"),
        lambda top: (top / "sub/file").chmod(0o755),
        lambda top: (top / "sub/file").rename(top / "sub/other"),
        lambda top: (top / "link").symlink_to("sub"),
        lambda top: (top / "empty").mkdir(),
        lambda top: (top / "sub/base.lock").touch(),
    ],
)
def test_a_change_of_the_source_is_noticed(paths: Paths, change: Callable[[Path], object]) -> None:
    before = source.fingerprint(Build("src"), paths)
    change(paths.persist / "src")
    assert source.fingerprint(Build("src"), paths) != before


def test_what_does_not_matter_is_not(paths: Paths) -> None:
    before = source.fingerprint(Build("src"), paths)
    (paths.persist / "src/.git").mkdir()
    (paths.persist / "src/sub/file").touch()
    (paths.persist / "src/base.lock").write_text("other packages")
    assert source.fingerprint(Build("src"), paths) == before
    assert source.fingerprint(Build("src", build_args=(("A", "1"),)), paths) != before
    assert source.fingerprint(Build("gone"), paths) == ""


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("https://example.org/a.git", "git"),
        ("https://example.org/a.git#v1", "git"),
        ("git@example.org:a", "git"),
        ("git://example.org/a", "git"),
        ("git+file:///mnt/persist/a", "git"),
        ("https://example.org/a.tar.gz", "url"),
        ("/mnt/persist/a.tgz", "tarball"),
        ("/mnt/persist/a", "folder"),
        ("a", "folder"),
    ],
)
def test_kinds_of_sources(address: str, kind: str) -> None:
    assert source.kind(address) == kind


def test_a_tarball_is_unpacked_and_gone_again(paths: Paths) -> None:
    with tarfile.open(paths.persist / "src.tar.gz", "w:gz") as archive:
        archive.add(paths.persist / "src", ".")
    with source.fetched(Build("src.tar.gz"), paths, print) as folder:
        assert (folder / "sub/file").read_text() == "one"
    assert not folder.exists()


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("# x\n\nARG BASE=debian:trixie\nFROM ${BASE}\n", "debian:trixie"),
        ("ARG BASE=debian:trixie\nFROM $BASE AS one\n", "debian:trixie"),
        ("FROM debian:trixie\n", ""),
        ("ARG BASE\nFROM ${BASE}\n", ""),
        ("ARG BASE=a\nFROM ${BASED}\n", ""),
    ],
)
def test_the_base_that_a_dockerfile_names(text: str, base: str) -> None:
    assert bases.named_base(text) == base


def test_folders_of_mounts(paths: Paths) -> None:
    mounts = (
        "/mnt/persist/new:/a",
        "/gone:/b",
        "/run/udev:/run/udev",
        "volume:/c",
        "/mnt/persist/../etc2:/d",
        "/e",
    )
    found = desired._mount_folders(Container("c", "x", mounts=mounts), paths)
    assert found == (("/mnt/persist/new", "/run/udev"), ("/gone", "/mnt/persist/../etc2"))


def test_a_pushed_tree_must_be_a_commit(paths: Paths) -> None:
    folder = paths.env / "core"
    folder.mkdir(parents=True)
    link = folder / "current"
    for target in ("trees/../../..", "/etc", "trees/abc", f"other/{'a' * 40}"):
        link.symlink_to(target)
        assert desired.pushed("core", paths) is None
        link.unlink()
    link.symlink_to(f"trees/{'a' * 40}")
    image = desired.pushed("core", paths)
    assert image is not None
    assert image.name == f"skiff-env/core:{'a' * 12}"


@pytest.mark.parametrize(
    ("said", "begins", "hint"),
    [
        ("write /x: no space left on device", "x: the disk is full", "make room"),
        ("dial tcp: lookup a: no such host", "x: the registry cannot be reached", "check the network"),
        ("http: server gave HTTP response to HTTPS client", "x: the registry speaks no TLS", "allow it"),
        ("toomanyrequests: You have reached", "x: the registry wants fewer", "wait"),
        ("Bind for 0.0.0.0:80 failed: port is already allocated", "x: a port is taken", "change hostPort"),
        ("something odd\nSee 'docker run --help'.", "x: something odd", ""),
        ("", "x: no reason was given", ""),
    ],
)
def test_errors_in_plain_words(said: str, begins: str, hint: str) -> None:
    error = engine.error_of("x", said)
    assert error.message.startswith(begins)
    assert error.hint.startswith(hint)
    assert not isinstance(error, EngineDown)


def test_what_is_no_file_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's /etc/passwd may be a folder, with links to nowhere in it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, kind in (
            ("passwd", tarfile.DIRTYPE),
            ("passwd/a", tarfile.SYMTYPE),
            ("b", tarfile.LNKTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "nowhere"
            archive.addfile(member)
    done = run.Result(0, packed.getvalue(), "")
    monkeypatch.setattr(run, "head", lambda *_: done)
    assert engine.copy_out("box", "/etc/passwd") is None


@pytest.mark.parametrize("writes", ["cat /dev/zero", "exec sleep 1000"])
def test_what_never_ends_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, writes: str
) -> None:
    (tmp_path / "docker").write_text(f"#!/bin/sh\n{writes}\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(engine, "_PATIENCE", 0.5)
    assert engine.copy_out("box", "/etc/passwd") is None


def test_an_engine_that_is_down_is_known() -> None:
    assert isinstance(engine.error_of("x", "Cannot connect to the Docker daemon at unix:///x."), EngineDown)
