"""Storage, limits and checks of apps: what is set, what reaches the engine, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from skiff_device.common.errors import DeviceError
from skiff_device.crew import deploy, hooks, release, store
from skiff_device.crew.command import Caller
from tests.tool.crew_device import CrewDevice

DEPLOYER = Caller("anna", "deploy", ("app",))
READER = Caller("eve", "read")


@pytest.fixture
def app(crew: CrewDevice) -> CrewDevice:
    crew.app("app")
    return crew


def newest(crew: CrewDevice) -> dict[str, list[str]]:
    """Options of the container that was made last."""
    return list(crew.engine.containers.values())[-1].options


# Storage


def test_a_folder_is_made_mounted_and_hidden_again(app: CrewDevice) -> None:
    folder = app.paths.storage / "app.data"
    assert app.run("storage:ensure-directory", "app", "data", caller=DEPLOYER).text == f"{folder}\n"
    assert folder.stat().st_mode & 0o777 == 0o777 and app.paths.storage.stat().st_mode & 0o777 == 0o700
    assert app.run("storage:mount", "app", "app.data:/data:ro", caller=DEPLOYER).status == 0
    assert newest(app)["--volume"] == [f"{folder}:/data:ro"]
    assert release.current_number(app.paths, "app") == 2
    assert json.loads(app.run("storage:list", "--json", "app").out) == [f"{folder}:/data:ro"]
    assert json.loads(app.run("storage:report", "--json", "app").out)["folders"] == ["app.data"]
    (folder / "kept").touch()
    assert app.run("storage:unmount", "app", "app.data:/data").status == 0
    assert "--volume" not in newest(app) and (folder / "kept").exists()
    assert "storage:mount" in app.events() and "storage:unmount" in app.events()


def test_an_admin_may_mount_any_path(app: CrewDevice) -> None:
    assert app.run("storage:mount", "--no-restart", "app", "/dev/ttyUSB0:/dev/port").status == 0
    assert release.current_number(app.paths, "app") == 1
    assert app.run("storage:list", "app").text == "/dev/ttyUSB0:/dev/port\n"


@pytest.mark.parametrize(
    "word",
    [
        "/:/host", "/etc:/x", "/var/run/docker.sock:/s", "other:/x", "other.data:/x", "app-2:/x",
        "STORAGE:/x", "STORAGE/other:/x", "STORAGE/app/deep:/x", "STORAGE/../keys.json:/x",
        "STORAGE/app/../../keys.json:/x", "STORAGE/app/.:/x",
    ],
)  # fmt: skip
def test_a_deploy_key_gives_only_folders_of_its_app(app: CrewDevice, word: str) -> None:
    done = app.run("storage:mount", "app", word.replace("STORAGE", str(app.paths.storage)), caller=DEPLOYER)
    assert done.status == 1 and store.section(app.paths, "app", "storage") == {}
    assert app.engine.argvs == []


@pytest.mark.parametrize(
    "word",
    [
        "app", "app:", ":/x", "app:x", "app:/", "app:/../x", "app:/a/../b", "app://x", "app:/x/",
        "app:/x:exec", "app:/x:ro:rw", "../app:/x", "a/b:/x", "-v:/x", "app:/x\n", "app:/x\0", "/a/../b:/x",
        "//a:/x", "app:/\u202e",
        "app:/" + "x" * 2000, "$(id):/x", "APP:/x", ".:/x", "app.:/x", "",
    ],
)  # fmt: skip
def test_what_is_no_mount_is_refused(app: CrewDevice, word: str) -> None:
    done = app.run("storage:mount", "app", "--", word)
    assert done.status == 1 and len(done.err.splitlines()) == 2
    assert store.section(app.paths, "app", "storage") == {}


@pytest.mark.parametrize("name", ["../x", "a/b", "-x", "x" * 90, "a.b", ".", "/etc", "$(id)", "a\n"])
def test_no_folder_is_made_elsewhere(app: CrewDevice, name: str) -> None:
    assert app.run("storage:ensure-directory", "app", "--", name, caller=DEPLOYER).status == 1
    assert app.run("storage:ensure-directory", "--", name, caller=DEPLOYER).status == 1
    assert not app.paths.storage.exists()


def test_two_folders_cannot_be_at_one_place(app: CrewDevice) -> None:
    app.run("storage:mount", "--no-restart", "app", "app:/data")
    assert "taken by" in app.run("storage:mount", "app", "app.x:/data").err
    assert "no mount" in app.run("storage:unmount", "app", "app.x:/data").err


def test_a_mount_that_does_not_come_up_is_taken_back(app: CrewDevice) -> None:
    app.engine.refuse = "invalid mount"
    done = app.run("storage:mount", "app", "app:/data")
    assert done.status == 1 and "invalid mount" in done.err
    assert store.section(app.paths, "app", "storage") == {}
    assert list(app.engine.containers) == ["app.worker.1-1"]
    assert "storage:mount" not in app.events()


def test_a_link_in_the_place_of_a_folder_is_not_opened_up(app: CrewDevice, tmp_path: Path) -> None:
    app.paths.storage.mkdir(mode=0o700)
    tmp_path.chmod(0o700)
    (app.paths.storage / "app").symlink_to(tmp_path)
    app.run("storage:ensure-directory", "app")
    assert tmp_path.stat().st_mode & 0o777 == 0o700


# Limits


def test_limits_reach_the_containers_of_their_process(crew: CrewDevice) -> None:
    crew.app("app", worker=["work"], other=["else"])
    assert crew.run("resource:limit", "--memory", "64", "--pids=10", "--no-restart", "app").status == 0
    words = ["resource:limit", "--process-type", "other", "--memory", "1G", "--cpu", "0.5", "app"]
    assert crew.run(*words).status == 0
    found = {name: one.options for name, one in crew.engine.containers.items()}
    wanted = ("--memory", "--cpus", "--pids-limit")
    assert {name: found["app.other.1-2"].get(name) for name in wanted} == dict(
        zip(wanted, (["1g"], ["0.5"], ["10"]), strict=True)
    )
    assert {name: found["app.worker.1-2"].get(name) for name in wanted} == dict(
        zip(wanted, (["64m"], None, ["10"]), strict=True)
    )
    rows = json.loads(crew.run("resource:report", "--json", "app").out)
    assert rows == {
        "_default_.memory": "64m", "_default_.pids": "10", "other.cpu": "0.5", "other.memory": "1g",
    }  # fmt: skip
    assert crew.run("resource:limit-clear", "--process-type", "other", "--no-restart", "app").status == 0
    assert "other.cpu" not in crew.run("resource:limit", "app").text
    assert crew.run("resource:limit-clear", "app").status == 0
    assert newest(crew)["--pids-limit"] == ["1024"] and "--memory" not in newest(crew)
    assert "resource:limit other memory=1g cpu=0.5" in crew.events()


@pytest.mark.parametrize(
    "words",
    [
        ["--memory", "5m"], ["--memory", "-1"], ["--memory", "1t"], ["--memory", "64m --privileged"],
        ["--memory", "٦٤m"], ["--memory", ""], ["--memory", "9" * 40], ["--cpu", "0"], ["--cpu", "1e3"],
        ["--cpu", "nan"], ["--cpu", "-1"], ["--pids", "0"], ["--pids", "many"], ["--pids", "-1"],
        ["--memory"], ["--process-type", "../x", "--pids", "5"], ["--swap", "1"],
    ],
)  # fmt: skip
def test_what_is_no_limit_is_refused(app: CrewDevice, words: list[str]) -> None:
    assert app.run("resource:limit", "app", *words).status == 1
    assert store.section(app.paths, "app", "resource") == {} and app.engine.argvs == []


def test_who_is_limited_cannot_lift_the_limit(app: CrewDevice) -> None:
    assert "may not use" in app.run("resource:limit", "--pids", "9", "app", caller=DEPLOYER).err
    assert "may not use" in app.run("resource:limit-clear", "app", caller=DEPLOYER).err
    assert app.run("resource:report", "app", caller=DEPLOYER).status == 0


# Checks


def test_a_disabled_process_ends_before_the_new_one_starts(app: CrewDevice) -> None:
    assert app.run("checks:disable", "app", "worker", caller=DEPLOYER).status == 0
    app.engine.calls.clear()
    done = app.run("ps:restart", "app")
    assert done.status == 0 and "worker.1: started, not checked" in done.err
    calls = app.engine.calls
    assert calls.index("POST /containers/app.worker.1-1/stop") < calls.index("POST /fake/create")


def test_what_gave_way_comes_back_when_the_new_one_fails(app: CrewDevice) -> None:
    app.run("checks:disable", "app")
    app.engine.refuse = "no space left on device"
    assert app.run("ps:restart", "app").status == 1
    assert app.engine.containers["app.worker.1-1"].running


def test_a_skipped_process_switches_with_no_gap(app: CrewDevice) -> None:
    store.change(app.paths, "app", "checks", lambda section: section.update(wait=3600))
    assert app.run("checks:skip", "app", "worker,other").status == 0
    app.engine.calls.clear()
    assert "not checked" in app.run("ps:restart", "app").err
    calls = app.engine.calls
    assert calls.index("POST /containers/app.worker.1-2/start") < calls.index(
        "POST /containers/app.worker.1-1/stop"
    )


def test_a_process_is_in_one_list_only(app: CrewDevice) -> None:
    for words, expected in [
        (("checks:skip", "app"), {"skipped": ["_all_"]}),
        (("checks:disable", "app", "web"), {"skipped": ["_all_"], "disabled": ["web"]}),
        (("checks:disable", "app"), {"disabled": ["_all_"]}),
        (("checks:enable", "app"), {}),
        (("checks:skip", "app", "web"), {"skipped": ["web"]}),
        (("checks:disable", "app", "web"), {"disabled": ["web"]}),
        (("checks:enable", "app", "web"), {}),
    ]:
        assert app.run(*words).status == 0
        section = store.section(app.paths, "app", "checks")
        section.pop("wait")
        assert section == expected, words
    app.run("checks:skip", "app")
    assert "all processes" in app.run("checks:enable", "app", "web").err


def test_settings_stand_in_for_what_a_check_does_not_say(app: CrewDevice) -> None:
    from skiff_device.crew import preflight

    one = release.current(app.paths, "app")
    assert one is not None
    listed = {"healthchecks": {"web": [{"path": "/a", "attempts": 9}]}}
    for name, value in (("wait", "1"), ("timeout", "2"), ("attempts", "4"), ("wait-to-retire", "0")):
        assert app.run("checks:set", "app", name, value, caller=DEPLOYER).status == 0
    plan = preflight.plan(app.paths, "app", one._replace(app_json=listed), "web")
    assert plan is not None
    assert [(c.wait, c.timeout, c.attempts) for c in plan.checks] == [(1, 2, 9)]
    plan = preflight.plan(app.paths, "app", one._replace(checks="/b\nATTEMPTS=3\n/c"), "web")
    assert plan is not None
    assert [(c.wait, c.timeout, c.attempts) for c in plan.checks] == [(1, 2, 3), (1, 2, 3)]
    rows = json.loads(app.run("checks:report", "--json", "app").out)
    assert (rows["wait"], rows["timeout"], rows["wait to retire"]) == (1, 2, 0)
    assert rows["worker"] == "stays up for 1 s"
    assert app.run("checks:set", "app", "wait").status == 0
    assert "wait" not in store.section(app.paths, "app", "checks")


@pytest.mark.parametrize(
    "words",
    [
        ["wait", "-1"], ["wait", "inf"], ["wait", "1.5"], ["timeout", "0"], ["attempts", "9" * 30],
        ["other", "1"],
        ["disabled", "web"], [], ["wait", "1", "2"],
    ],
)  # fmt: skip
def test_what_is_no_setting_of_checks_is_refused(app: CrewDevice, words: list[str]) -> None:
    before = store.section(app.paths, "app", "checks")
    assert app.run("checks:set", "app", "--", *words).status == 1
    assert store.section(app.paths, "app", "checks") == before


def test_what_runs_can_be_checked(app: CrewDevice) -> None:
    assert app.run("checks:run", "app").text == "worker.1: stayed up for 0 s\n"
    assert "no process" in app.run("checks:run", "app", "other").err
    app.engine.end(app.engine.containers["app.worker.1-1"], 3)
    done = app.run("checks:run", "app", caller=DEPLOYER)
    assert (done.status, done.err) == (1, "worker.1 ended with status 3\n")
    app.run("ps:stop", "app")
    assert "does not run" in app.run("checks:run", "app").err


def test_a_key_that_reads_changes_nothing(app: CrewDevice) -> None:
    for words in (
        ["storage:mount", "app", "app:/x"], ["storage:unmount", "app", "app:/x"],
        ["storage:ensure-directory", "app"], ["checks:disable", "app"], ["checks:set", "app", "wait", "1"],
        ["checks:run", "app"], ["resource:limit", "--pids", "9", "app"],
    ):  # fmt: skip
        assert "may not use" in app.run(*words, caller=READER).err, words


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (("ps:set", "app", "restart-policy", "no"), "restart_policy"),
        (("ps:scale", "app", "worker=2"), "scale"),
    ],
)
def test_what_does_not_come_up_is_as_before(
    crew: CrewDevice, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], key: str
) -> None:
    crew.app("app")
    before = store.section(crew.paths, "app", "ps").get(key)

    def redeploy(*_: object) -> None:
        # Meanwhile somebody else stops it.
        store.change(crew.paths, "app", "ps", lambda section: section.update(stopped=True))
        raise DeviceError("it does not start")

    monkeypatch.setattr(deploy, "redeploy", redeploy)
    assert crew.run(*words).status == 1
    assert store.section(crew.paths, "app", "ps").get(key) == before
    assert store.section(crew.paths, "app", "ps")["stopped"]


@pytest.mark.parametrize(
    ("words", "others", "left"),
    [
        (("storage:mount", "app", "/b:/b"), ("storage:mount", "app", "/c:/c"), ["/a:/a", "/c:/c"]),
        (("storage:unmount", "app", "/a:/a"), ("storage:mount", "app", "/c:/c"), ["/c:/c", "/a:/a"]),
        (("storage:mount", "app", "/b:/b"), ("storage:unmount", "app", "/a:/a"), []),
        (
            ("resource:limit", "app", "--pids=5"),
            ("resource:limit", "app", "--cpu=1"),
            {"pids": "9", "cpu": "1"},
        ),
        (("resource:limit", "app", "--cpu=1"), ("resource:limit", "app", "--pids=5"), {"pids": "5"}),
        (("resource:limit", "app", "--pids=5"), ("resource:limit", "app", "--pids=7"), {"pids": "7"}),
    ],
)
def test_what_somebody_else_has_set_meanwhile_stays(
    app: CrewDevice,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    others: tuple[str, ...],
    left: Any,
) -> None:
    app.run("storage:mount", "--no-restart", "app", "/a:/a")
    app.run("resource:limit", "--no-restart", "app", "--pids=9")

    def redeploy(*_: object) -> None:
        assert app.run(others[0], "--no-restart", *others[1:]).status == 0
        raise DeviceError("it does not start")

    monkeypatch.setattr(deploy, "redeploy", redeploy)
    assert app.run(*words).status == 1
    mounts = store.section(app.paths, "app", "storage").get("mounts", [])
    limits = store.section(app.paths, "app", "resource")["limit"]["_default_"]
    assert (mounts if "storage" in words[0] else limits) == left


AFTER_THE_SWITCH = [
    (("config:set", "app", "COLOUR=blue"), ("config:get", "app", "COLOUR"), "blue\n"),
    (("storage:mount", "app", "/a:/a"), ("storage:list", "app"), "/a:/a\n"),
    (("ps:scale", "app", "worker=2"), ("ps:scale", "app"), "worker: 2\n"),
]


@pytest.mark.parametrize(("words", "asked", "told"), AFTER_THE_SWITCH)
def test_a_client_that_is_lost_after_the_switch_changes_nothing(
    app: CrewDevice,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    asked: tuple[str, ...],
    told: str,
) -> None:
    def lost(paths: object, trigger: str, *_: object) -> None:
        if trigger == "post-deploy":
            raise KeyboardInterrupt

    monkeypatch.setattr(hooks, "trigger", lost)
    with pytest.raises(KeyboardInterrupt):
        app.run(*words)
    assert release.current_number(app.paths, "app") == 2
    assert app.run(*asked).text == told
    assert f"root app: {words[0].removeprefix('ps:')}" in app.events()


@pytest.mark.parametrize(("words", "asked", "told"), AFTER_THE_SWITCH)
def test_what_fails_is_put_back_though_another_release_serves_by_then(
    app: CrewDevice,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    asked: tuple[str, ...],
    told: str,
) -> None:
    again = deploy.redeploy

    def redeploy(*given: Any) -> None:
        # Somebody else's, which the command had to wait for.
        again(app.paths, "app", "restart", print)
        raise DeviceError("it does not start")

    monkeypatch.setattr(deploy, "redeploy", redeploy)
    assert app.run(*words).status == 1
    assert release.current_number(app.paths, "app") == 2 and app.run(*asked).text != told
    assert words[0].removeprefix("ps:") not in app.events()
