"""The stand-ins for engine and router themselves: what other tests of crew rely on."""

from __future__ import annotations

import errno
import json
import os
import threading

import pytest

from skiff_device.crew import events, main, store
from tests.tool.crew_device import ROOT, CrewDevice, FakeRouterServer, remove_folder, short_folder


def test_a_restart_makes_the_containers_anew(crew: CrewDevice) -> None:
    crew.app("app")
    done = crew.run("ps:restart", "app")
    assert (done.status, list(crew.engine.containers)) == (0, ["app.worker.1-2"]), done.err
    assert "app: restarted" in crew.events()


def test_a_release_that_a_newer_skiff_made_serves_after_the_update_was_taken_back(crew: CrewDevice) -> None:
    crew.app("app")
    path = crew.paths.app("app") / "releases/1/release.json"
    found = json.loads(path.read_text())
    found["new"] = found["containers"][0]["new"] = "?"
    path.write_text(json.dumps(found))
    done = crew.run("ps:restart", "app")
    assert (done.status, list(crew.engine.containers)) == (0, ["app.worker.1-2"]), done.err


def test_a_failure_of_the_engine_leaves_the_old_release(crew: CrewDevice) -> None:
    crew.app("app")
    crew.engine.refuse = "no space left on device"
    done = crew.run("ps:restart", "app")
    assert done.status == 1 and "no space left on device" in done.err
    assert list(crew.engine.containers) == ["app.worker.1-1"]


def test_variables_of_an_app_reach_its_containers_and_no_program_of_the_device(crew: CrewDevice) -> None:
    crew.app("app")
    evil = {"PATH": "/evil", "LD_PRELOAD": "/evil.so", "DOCKER_HOST": "tcp://evil", "LINES": "a\nb"}
    done = crew.run("config:set", "app", *(f"{name}={value}" for name, value in evil.items()))
    assert done.status == 0, done.err
    assert evil.items() <= crew.engine.containers["app.worker.1-2"].env.items()
    assert not evil.items() & crew.engine.command_env.items()


def test_a_full_disk_is_told_in_one_line_and_changes_nothing(
    crew: CrewDevice, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    crew.app("app")
    monkeypatch.setenv("SKIFF_ROOT", str(crew.paths.root))
    mask = os.umask(0o022)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    try:
        assert main.main(["config:set", "app", "A=1"]) == 1
        # What needs no room is done as ever, whether its event can be kept or not.
        monkeypatch.setattr("skiff_device.crew.events._append", full)
        assert main.main(["ps:inspect", "app"]) == 0
        events.log(crew.paths, ROOT, "app: looked at")
    finally:
        os.umask(mask)
    assert capfd.readouterr().err == (
        "crew: the disk is full\n  hint: make room: cleanup, docker system df\n"
    )
    assert store.env(crew.paths, "app") == {}
    assert not list(crew.paths.app("app").glob(".*"))


def test_a_router_that_was_ended_waits_for_no_connection() -> None:
    folder = short_folder()
    before = set(threading.enumerate())
    FakeRouterServer(folder / "socket").close()
    assert set(threading.enumerate()) <= before
    remove_folder(folder)
