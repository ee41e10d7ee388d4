"""What a push leans on: its client, its turn, its repository, and what skiff-status tells after it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from skiff_device.common import run
from skiff_device.common.errors import DeviceError, EngineDown
from skiff_device.crew import (
    cleanup,
    containers,
    deploy,
    keys,
    preflight,
    release,
    repo,
    restore,
    retire,
    router,
    status,
    store,
)
from skiff_device.crew.engine import Engine
from tests.tool.crew_device import SOURCE, CrewDevice
from tests.tool.crew_pusher import Pusher, refused

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0mBxXgAkT7hXNgJdQ3GkAkY4JbKkzB3j1m7Q3y9d5q"
# Waits without a word, as a push does whose build is silent; standard output leads to the client.
WAITS = """import signal, sys, time
from skiff_device.crew import main
signal.signal(signal.SIGHUP, signal.default_int_handler)
main.end_with_client(1)
try:
    print("waits", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    sys.exit(7)
"""


def test_a_client_that_goes_ends_what_waits() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(SOURCE)}
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"waits\n"
    process.stdout.close()
    assert process.wait(30) == 7


def test_what_is_detached_keeps_no_lock(crew: CrewDevice, tmp_path: Path) -> None:
    turn = store.hold(crew.paths, "push-app")
    os.set_inheritable(turn, True)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # Goes on until somebody reads.
    run.detach(["sh", "-c", f"echo >{fifo}"])
    os.close(turn)
    os.close(store.hold(crew.paths, "push-app", lambda: pytest.fail("the lock is held")))
    fifo.read_text()


def test_a_redeploy_retires_what_is_older_and_forgets_the_oldest(crew: CrewDevice) -> None:
    crew.app("app")
    for _ in range(cleanup.KEEP + 1):
        assert crew.run("ps:restart", "app").status == 0
    now = cleanup.KEEP + 2
    assert list(crew.engine.containers) == [f"app.worker.1-{now}"]
    assert release.numbers(crew.paths, "app") == list(range(3, now + 1))


def test_what_retires_an_app_leaves_one_alone_that_got_its_name(
    crew: CrewDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first release of both has containers of the same names."""
    crew.app("app")
    monkeypatch.setattr(retire, "begin", lambda app: None)
    assert crew.run("ps:restart", "app").status == 0

    def made_anew(*_: object) -> None:
        assert crew.run("apps:destroy", "--force", "app").status == 0
        crew.app("app")

    # While the last connections to the old release go on.
    monkeypatch.setattr(router, "drained", made_anew)
    retire.retire(crew.paths, "app")
    assert [(one.name, one.running) for one in crew.engine.containers.values()] == [("app.worker.1-1", True)]


def test_what_a_killed_git_left_is_put_away(crew: CrewDevice) -> None:
    crew.app("app")
    folder = repo.ensure(crew.paths, "app")
    left = [folder / "HEAD.lock", folder / "refs/heads/main.lock", folder / "objects/tmp_objdir-incoming-1/x"]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    repo.tidy(folder)
    assert not any(path.exists() for path in left)
    assert not left[2].parent.exists()
    # Made right before a power cut: names without content.
    for name in ("HEAD", "config"):
        (folder / name).write_bytes(b"")
    repo.ensure(crew.paths, "app")
    assert (folder / "HEAD").read_text() == "ref: refs/heads/main\n"


def test_skiff_status_tells_how_apps_are(crew: CrewDevice) -> None:
    engine = Engine(crew.paths)
    assert status.line(crew.paths, engine) == "ok\tno apps\t"
    for name in ("one", "two", "three"):
        crew.app(name)
    store.create(crew.paths, "four")
    assert crew.run("ps:stop", "two").status == 0
    assert (crew.paths.run / "status").read_text() == "ok\t2 apps run, 1 stopped, 1 never deployed\t\n"
    crew.engine.containers["three.worker.1-1"].status = "exited"
    told = status.line(crew.paths, engine).split("\t")
    assert told[:2] == ["fail", "do not run: three"]
    assert "crew logs APP" in told[2]


def test_a_boot_leaves_alone_who_is_at_work_already(
    crew: CrewDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Services come after SSH: a first push, or a backup that is taken in, may be there before them."""
    crew.app("old")
    (crew.paths.root / "proc/5").mkdir(parents=True)
    places = [crew.paths.app("old") / "incoming.{}", crew.paths.app("old") / "incoming.{}.archive"]
    for place in places:
        for pid in ("5", "6"):
            Path(str(place).format(pid)).touch()
    for pid in ("5", "6"):
        (crew.paths.crew / f"import.{pid}").mkdir()
    bring_back = restore._app

    def slow(*words: Any) -> None:
        bring_back(*words)
        crew.app("new")

    monkeypatch.setattr(restore, "_app", slow)
    restore.restore(crew.paths)
    assert sorted(crew.engine.containers) == ["new.worker.1-1", "old.worker.1-1"]
    left = [
        path.name for path in (*crew.paths.app("old").glob("incoming.*"), *crew.paths.crew.glob("import.*"))
    ]
    assert sorted(left) == ["import.5", "incoming.5", "incoming.5.archive"]


def test_a_stopped_app_leaves_nothing_that_an_engine_could_start(crew: CrewDevice) -> None:
    crew.app("app")
    crew.run("ps:set", "app", "restart-policy", "always")
    done = crew.run("ps:stop", "app")
    assert "worker.1: stopped" in done.err and crew.engine.containers == {}
    assert crew.run("ps:start", "app").status == 0
    assert list(crew.engine.containers) == ["app.worker.1-3"]


def test_a_boot_puts_away_what_runs_of_a_stopped_app(crew: CrewDevice) -> None:
    """Of one that an older crew stopped, or that power went from amid `ps:stop`."""
    crew.app("app")
    crew.app("other")
    store.change(crew.paths, "app", "ps", lambda section: section.update(stopped=True))
    restore.restore(crew.paths)
    assert list(crew.engine.containers) == ["other.worker.1-1"]
    assert "POST /containers/app.worker.1-1/stop" in crew.engine.calls


def test_an_app_that_was_destroyed_amid_a_build_stays_so(crew: CrewDevice) -> None:
    crew.app("app")
    image = crew.engine.image("crew/app:build-1")
    assert crew.run("apps:destroy", "--force", "app").status == 0
    with pytest.raises(DeviceError, match="there is no app app"):
        deploy.deploy(crew.paths, "app", image, "push", processes={"worker": ["work"]}, say=print)
    assert not crew.paths.app("app").exists() and crew.engine.containers == {}


@pytest.mark.parametrize("key", ["ci", "root"])
@pytest.mark.parametrize(
    "words", [("apps:destroy", "--force", "app"), ("apps:rename", "app", "new")], ids=lambda words: words[0]
)
def test_one_that_is_gone_when_a_push_has_come_is_not_made_by_it(
    pusher: Pusher, key: str, words: tuple[str, ...]
) -> None:
    crew = pusher.crew
    crew.app("app")
    crew.run("ps:stop", "app")
    keys.add(crew.paths, "ci", KEY, "deploy", ["app"])
    pusher.commit(Dockerfile="FROM box\n")
    pusher.key = key
    pusher.amid(*words)
    told = refused(pusher.git("push", "crew@x:app", "main"))
    assert " !     there is no app app any more" in told
    assert store.apps(crew.paths) == (["new"] if "new" in words else [])
    assert f"{key} app: push refused: there is no app app any more" in crew.events()


def test_a_push_counts_for_no_other_app_that_got_the_name_meanwhile(pusher: Pusher) -> None:
    crew = pusher.crew
    crew.app("app")
    crew.run("ps:stop", "app")
    keys.add(crew.paths, "ci", KEY, "deploy", ["app"])
    pusher.commit(Dockerfile="FROM box\n")
    pusher.key = "ci"
    pusher.amid("apps:rename", "app", "new")
    pusher.amid("apps:create", "app")
    assert "key ci (deploy) may not push to app" in refused(pusher.git("push", "crew@x:app", "main"))
    assert release.numbers(crew.paths, "app") == []


def test_what_is_built_again_is_what_was_pushed_last(pusher: Pusher) -> None:
    """`master`, older git's first branch, is taken until there is a `main`."""
    crew = pusher.crew
    crew.app("app")
    crew.engine.image("box")
    for branch in ("master", "main"):
        pusher.commit(Dockerfile="FROM box\n", Procfile=f"worker: {branch}\n")
        done = pusher.git("push", "crew@x:app", f"HEAD:{branch}")
        assert done.returncode == 0, done.stderr
        last = release.current(crew.paths, "app")
        assert last is not None and last.processes == {"worker": [branch]}
        assert crew.run("git:status", "app").text == f"app: main is at {last.commit[:12]}, which serves\n"
    pusher.commit(Dockerfile="FROM box\n", Procfile="worker: newer\n")
    told = refused(pusher.git("push", "crew@x:app", "HEAD:master"))
    assert "master is not deployed, only main" in told and "git push … master:main" in told
    assert crew.run("ps:rebuild", "app").status == 0
    now = release.current(crew.paths, "app")
    assert now is not None and now.processes == {"worker": ["main"]}


def test_a_release_that_never_served_is_forgotten_without_an_engine_too(
    crew: CrewDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew.app("app")
    other = crew.engine.image("other:1")

    def down(*_: object) -> None:
        raise EngineDown("the container engine does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(preflight, "must_pass", down)
        patch.setattr(Engine, "untag", down)
        patch.setattr(Engine, "remove", down)
        assert "does not answer" in crew.run("git:from-image", "app", other).err
    assert release.numbers(crew.paths, "app") == [1]
    assert "no release of app has another image" in crew.run("rollback", "app").err


def test_two_first_pushes_make_one_network(crew: CrewDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(crew.paths)
    look = engine.network

    def looked_too_early(name: str) -> None:
        monkeypatch.setattr(engine, "network", look)
        engine.create_network(name, "172.30.0.0/16")

    monkeypatch.setattr(engine, "network", looked_too_early)
    assert str(containers.ensure_network(engine)) == "172.30.0.0/16"
