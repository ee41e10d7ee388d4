"""An app's other name: whatever fails, and whenever power goes, it runs under one of the two."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from skiff_device.crew import certs, hooks, keys, release, restore, status, store
from skiff_device.crew.engine import Engine
from skiff_device.crew.paths import Paths
from tests.tool.crew_device import CrewDevice

# A public key's text without its last sign.
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0mBxXgAkT7hXNgJdQ3GkAkY4JbKkzB3j1m7Q3y9d5"


@pytest.fixture
def app(crew: CrewDevice) -> CrewDevice:
    """An app with two releases, of one image each, and a certificate."""
    crew.app("app")
    assert crew.run("git:from-image", "app", crew.engine.image("crew/app:build-1")).status == 0
    del crew.engine.images["crew/app:build-1"]
    assert crew.run("certs:generate", "app", "a.example.org").status == 0
    return crew


def images(crew: CrewDevice) -> list[str]:
    return sorted(name for name in crew.engine.images if not name.startswith("sha256:"))


def test_all_that_is_kept_comes_along(app: CrewDevice) -> None:
    assert app.run("apps:rename", "app", "new").status == 0
    assert store.apps(app.paths) == ["new"] and list(app.engine.containers) == ["new.web.1-3"]
    assert app.run("cleanup").status == 0
    assert images(app) == ["crew/new:1", "crew/new:2", "crew/new:3"]
    assert [one.tag for one in release.kept(app.paths, "new")] == images(app)
    assert app.run("rollback", "new", "1").status == 0
    assert certs.info(app.paths, "new") is not None and certs.info(app.paths, "app") is None


def test_so_does_the_image_of_a_stopped_app(app: CrewDevice) -> None:
    app.run("ps:stop", "app")
    assert app.run("apps:rename", "app", "new").status == 0
    assert app.run("cleanup").status == 0
    assert images(app) == ["crew/new:1", "crew/new:2"] and app.engine.containers == {}
    assert app.run("ps:start", "new").status == 0 and list(app.engine.containers) == ["new.web.1-3"]


def test_one_that_does_not_come_up_keeps_its_name(app: CrewDevice) -> None:
    app.engine.refuse = "no space left on device"
    assert app.run("apps:rename", "app", "new").status == 1
    assert store.apps(app.paths) == ["app"] and images(app) == ["crew/app:1", "crew/app:2"]
    assert certs.info(app.paths, "app") is not None and certs.info(app.paths, "new") is None
    assert list(app.engine.containers) == ["app.web.1-2"] and app.engine.containers["app.web.1-2"].running
    assert status.line(app.paths, Engine(app.paths)) == "ok\t1 app runs\t"
    assert "renamed" not in app.events()


def test_a_client_that_is_lost_after_the_switch_leaves_all_to_the_new_name(
    app: CrewDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(paths: Paths, trigger: str, *_: object) -> None:
        if trigger == "post-deploy":
            raise KeyboardInterrupt

    keys.add(app.paths, "ci", f"{KEY}0", "deploy", ["app"])
    monkeypatch.setattr(hooks, "trigger", lost)
    with pytest.raises(KeyboardInterrupt):
        app.run("apps:rename", "app", "new")
    assert store.apps(app.paths) == ["new"] and list(app.engine.containers) == ["new.web.1-3"]
    assert images(app) == ["crew/new:1", "crew/new:2", "crew/new:3"]
    assert keys.caller(app.paths, "ci").apps == ("new",)
    assert certs.info(app.paths, "new") is not None and certs.info(app.paths, "app") is None


def test_a_name_that_is_taken_is_refused_its_own_too(app: CrewDevice) -> None:
    app.app("other")
    for name in ("other", "app"):
        assert f"there is an app {name} already" in app.run("apps:rename", "app", name).err
    assert store.apps(app.paths) == ["app", "other"]


def test_two_at_once_do_not_wait_for_each_other(app: CrewDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    app.app("other")
    held: list[str] = []
    hold = store.hold

    def look(paths: Paths, name: str, waiting: Callable[[], None] | None = None) -> int:
        held.append(name)
        return hold(paths, name, waiting)

    monkeypatch.setattr(store, "hold", look)
    for words in (("app", "other"), ("other", "app")):
        assert "already" in app.run("apps:rename", *words).err
        assert [held.pop(0) for _ in words] == ["deploy-app", "deploy-other"]
        held.clear()


def test_one_that_got_another_name_meanwhile_is_told(
    app: CrewDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = store.hold

    def late(*given: Any) -> int:
        monkeypatch.setattr(store, "hold", hold)
        assert app.run("apps:rename", "app", "first").status == 0
        return hold(*given)

    monkeypatch.setattr(store, "hold", late)
    assert "there is no app app" in app.run("apps:rename", "app", "second").err
    assert store.apps(app.paths) == ["first"] and list(app.engine.containers) == ["first.web.1-3"]
    assert certs.info(app.paths, "first") is not None


def test_a_full_disk_leaves_nothing_of_the_new_name(app: CrewDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(store, "sync_disk", full)
    with pytest.raises(OSError, match="no space"):
        app.run("apps:rename", "app", "new")
    assert store.apps(app.paths) == ["app"] and images(app) == ["crew/app:1", "crew/app:2"]
    assert certs.info(app.paths, "app") is not None and certs.info(app.paths, "new") is None


def test_after_a_power_cut_it_runs_under_the_new_name(app: CrewDevice) -> None:
    # All that is there when power goes before the new containers serve.
    certs.copy(app.paths, "app", "new")
    app.paths.app("app").rename(app.paths.app("new"))
    for _ in range(2):
        restore.restore(app.paths)
        assert [(one.name, one.running) for one in app.engine.containers.values()] == [("new.web.1-2", True)]
        assert status.line(app.paths, Engine(app.paths)) == "ok\t1 app runs\t"
    assert app.engine.containers["new.web.1-2"].env["CREW_APP"] == "new"
    assert certs.info(app.paths, "new") is not None and certs.info(app.paths, "app") is None


def test_what_a_refused_first_push_left_is_in_nobodys_way(app: CrewDevice) -> None:
    (app.paths.app("new") / "repo.git").mkdir(parents=True)
    assert app.run("apps:rename", "app", "new").status == 0
    assert store.apps(app.paths) == ["new"] and not (app.paths.app("new") / "repo.git").exists()
    assert certs.info(app.paths, "new") is not None


def test_deploy_keys_are_for_its_new_name(app: CrewDevice) -> None:
    for number, apps in enumerate((["app", "other"], ["other"])):
        keys.add(app.paths, f"ci{number}", f"{KEY}{number}", "deploy", apps)
    assert app.run("apps:rename", "app", "new").status == 0
    assert [keys.caller(app.paths, name).apps for name in ("ci0", "ci1")] == [("new", "other"), ("other",)]


@pytest.mark.parametrize("moved", [True, False])
def test_so_they_are_after_a_power_cut(app: CrewDevice, monkeypatch: pytest.MonkeyPatch, moved: bool) -> None:
    class Cut(BaseException):
        pass

    def cut(*_: object) -> None:
        raise Cut

    asked: list[object] = []

    def follow(*given: object) -> None:
        # The first call is for an earlier name. After it no hand is left to put anything right.
        asked.append(given)
        if len(asked) > 1:
            raise Cut

    keys.add(app.paths, "ci", f"{KEY}0", "deploy", ["app"])
    with monkeypatch.context() as patch:
        patch.setattr(keys, "follow", follow)
        if not moved:
            patch.setattr(store, "sync_disk", cut)
        with pytest.raises(Cut):
            app.run("apps:rename", "app", "new")
    (name,) = store.apps(app.paths)
    assert name == ("new" if moved else "app")
    if moved:
        # Somebody is quicker than the boot.
        assert app.run("apps:rename", "new", "newer").status == 0
        name = "newer"
        assert keys.caller(app.paths, "ci").apps == (name,)
    restore.restore(app.paths)
    assert keys.caller(app.paths, "ci").apps == (name,)
    # It is over: who gets the old name keeps the keys for it.
    keys.add(app.paths, "later", f"{KEY}1", "deploy", ["app"])
    restore.restore(app.paths)
    assert keys.caller(app.paths, "later").apps == ("app",)
