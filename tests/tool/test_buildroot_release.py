"""The pinned release of Buildroot: fetched at its tag by git, once, and thrown away when it is another."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from skiff.builders.buildroot import release
from skiff.builders.buildroot.release import Pin
from skiff.host.errors import UserError
from skiff.host.run import run
from tests.unit.port_world import commit, write

MAKEFILE = "export BR2_VERSION := {version}\nBR2_VERSION_EPOCH = 1771000000\n"


@pytest.fixture
def pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pin:
    """A bare repository with an annotated tag, as Buildroot's are, and work that came after it."""
    work = tmp_path / "work"
    version = release.pin().version
    write(work, Makefile=MAKEFILE.format(version=version))
    wanted = commit(work)
    run(["git", "-C", work, "-c", "user.name=t", "-c", "user.email=t@t", "tag", "-a", "-m", "t", version])
    write(work, Makefile=MAKEFILE.format(version=f"{version}-git"))
    commit(work)
    bare = tmp_path / "buildroot.git"
    run(["git", "clone", "-q", "--bare", work, bare])
    made = Pin(version, f"file://{bare}", version, wanted)
    monkeypatch.setattr(release, "pin", lambda: made)
    return made


def test_it_is_fetched_at_its_tag_and_once(pinned: Pin, tmp_path: Path) -> None:
    found = release.find(None, tmp_path / "cache")
    assert (found.version, found.epoch) == (pinned.version, 1771000000)
    assert found.root == tmp_path / "cache/buildroot" / pinned.commit
    # What came before and after the tag stays where it is.
    assert run(["git", "-C", found.root, "rev-list", "--count", "--all"]).stdout.strip() == b"1"
    (tmp_path / "buildroot.git").rename(tmp_path / "away")
    assert release.find(None, tmp_path / "cache") == found


def test_what_a_killed_run_left_is_taken_away(pinned: Pin, tmp_path: Path) -> None:
    left = tmp_path / "cache/buildroot/.clone-1a2b3c/tree"
    left.mkdir(parents=True)
    found = release.find(None, tmp_path / "cache")
    assert list((tmp_path / "cache/buildroot").iterdir()) == [found.root]


def test_a_mirror_takes_its_place_by_gits_own_settings(
    pinned: Pin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = msgspec.structs.replace(pinned, url="https://buildroot.invalid/buildroot.git")
    monkeypatch.setattr(release, "pin", lambda: elsewhere)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{pinned.url}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", elsewhere.url)
    assert release.find(None, tmp_path / "cache").version == pinned.version


def refused(pinned: Pin, cache: Path, monkeypatch: pytest.MonkeyPatch, **values: str) -> UserError:
    """The error of a pin that is otherwise; nothing is left of what was fetched."""
    changed = msgspec.structs.replace(pinned, **values)
    monkeypatch.setattr(release, "pin", lambda: changed)
    with pytest.raises(UserError) as caught:
        release.find(None, cache)
    assert list((cache / "buildroot").iterdir()) == []
    return caught.value


def test_another_commit_at_the_tag_is_thrown_away(
    pinned: Pin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = refused(pinned, tmp_path / "cache", monkeypatch, commit="0" * 40)
    assert f"{pinned.tag} is commit {pinned.commit}, not {'0' * 40}" in error.message


@pytest.mark.parametrize("values", [{"tag": "1999.02"}, {"url": "file:///no/such/buildroot.git"}])
def test_what_cannot_be_fetched_is_told_with_the_way_round(
    pinned: Pin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, str]
) -> None:
    error = refused(pinned, tmp_path / "cache", monkeypatch, **values)
    assert "cannot be fetched from file://" in error.message
    assert "--buildroot DIR" in error.hint


def test_the_pin_is_whole() -> None:
    pin = release.pin()
    assert len(pin.commit) == 40 and pin.tag.startswith(pin.version[:4])
