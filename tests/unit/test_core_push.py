"""A pushed environment that is not switched to leaves the container as it was, whatever ended the push."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from skiff_device.common.errors import DeviceError
from skiff_device.core import images, push, reconcile
from skiff_device.core.model import Config, Container
from skiff_device.core.paths import Paths

OLD, NEW = "1" * 40, "2" * 40
HOOK = 77


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A container core that runs OLD; NEW was unpacked by a hook that waits."""
    found = Paths(tmp_path)
    env = found.env / "core"
    for folder in (
        env / f"trees/{OLD}",
        env / f"incoming.{HOOK}",
        found.run / "push",
        tmp_path / f"proc/{HOOK}",
    ):
        folder.mkdir(parents=True)
    (env / f"incoming.{HOOK}/Dockerfile").touch()
    for name in (f"core.{HOOK}", f"core.{HOOK}.log"):
        (found.run / "push" / name).touch()
    push.point_at(found, "core", OLD)
    config = Config({"core": Container("core", "debian")})
    monkeypatch.setattr(reconcile, "load", lambda paths: reconcile.Loaded(config))
    monkeypatch.setattr(images, "build_env", lambda *words: "")
    monkeypatch.setattr(os, "chown", lambda *words: None)
    return found


def answer(paths: Paths) -> str:
    return (paths.run / f"push/core.{HOOK}").read_text()


def test_what_was_pushed_is_switched_to(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "apply", lambda *words: reconcile.Outcome())
    assert push.push(paths, "core", NEW, HOOK) == 0
    assert answer(paths) == f"ok core runs {NEW[:12]} now\n"
    assert (paths.env / "core/current").readlink() == Path(f"trees/{NEW}")


@pytest.mark.parametrize("ending", [KeyboardInterrupt(), DeviceError("no"), OSError("no")])
def test_one_that_ends_in_the_middle_of_switching_is_taken_back(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, ending: BaseException
) -> None:
    applied: list[str] = []

    def apply(*words: object) -> reconcile.Outcome:
        applied.append((paths.env / "core/current").readlink().name)
        if len(applied) == 1:
            raise ending
        return reconcile.Outcome()

    monkeypatch.setattr(reconcile, "apply", apply)
    with suppress(KeyboardInterrupt, OSError):
        push.push(paths, "core", NEW, HOOK)
    assert answer(paths).startswith("fail ")
    assert (paths.env / "core/current").readlink() == Path(f"trees/{OLD}")
    assert [path.name for path in (paths.env / "core/trees").iterdir()] == [OLD]
    # The container itself goes back as well; the service does that for one that was interrupted.
    assert applied == ([NEW, OLD] if isinstance(ending, DeviceError) else [NEW])


def test_trees_of_hooks_that_are_gone_are_removed(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "apply", lambda *words: reconcile.Outcome())
    (paths.env / "core/incoming.5").mkdir()
    (paths.env / "core/incoming.78").mkdir()
    (paths.root / "proc/78").mkdir()
    push.push(paths, "core", NEW, HOOK)
    assert [path.name for path in (paths.env / "core").glob("incoming.*")] == ["incoming.78"]
