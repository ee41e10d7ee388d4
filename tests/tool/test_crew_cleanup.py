"""Room on persist: what nothing needs goes, what serves or is kept stays. And scheduled jobs, run once."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

import pytest

from skiff_device.crew import cleanup, crontab, release, router, store
from skiff_device.crew.engine import Engine
from tests.tool.crew_device import CrewDevice, wait_for
from tests.tool.fake_engine import Container


def images(crew: CrewDevice) -> set[str]:
    return {name for name in crew.engine.images if not name.startswith("sha256:")}


def test_nothing_that_serves_or_is_kept_goes(crew: CrewDevice) -> None:
    crew.app("app")
    crew.app("other")
    for _ in range(3):
        assert crew.run("ps:restart", "app").status == 0
    (crew.paths.root / "proc/77").mkdir(parents=True)
    # What a power cut in a build left, what one under way has, and what apps that are gone left.
    for name in (
        "crew/app:build-99",
        "crew/app:build-77",
        "crew/gone:3",
        # As podman tells them.
        "docker.io/crew/gone:4",
        "crew/app:1000",
        "crew/backup:empty",
    ):
        crew.engine.image(name)
    for name in ("alpine:3", "registry.example/crew/app:9"):
        crew.engine.image(name)
    labels = {"crew.app": "app", "crew.release": "1", "crew.process": "worker"}
    for name, status in (("app.old", "exited"), ("app.run.1", "running"), ("app.new", "created")):
        crew.engine.containers[name] = Container(name, "x", [], {}, {}, labels, status)
    crew.engine.containers["app.worker.1-4"].status = "exited"

    done = crew.run("cleanup", "--json")
    assert done.status == 0, done.err
    assert {"alpine:3", "registry.example/crew/app:9", "crew/app:build-77", "crew/other:1"} <= images(crew)
    assert {f"crew/app:{number}" for number in (1, 2, 3, 4)} <= images(crew)
    assert images(crew).isdisjoint({"crew/app:build-99", "crew/gone:3", "crew/app:1000", "crew/backup:empty"})
    assert "docker.io/crew/gone:4" not in images(crew)
    assert set(crew.engine.containers) == {"app.worker.1-4", "app.run.1", "app.new", "other.worker.1-1"}
    rows = json.loads(done.text)
    assert (rows["images"], rows["containers"], rows["cache"]) == (5, 1, 3000)
    assert crew.engine.pruned[-1] == ("build", {"keep-storage": str(1 << 30), "all": "1"})


def test_what_comes_amid_it_stays(crew: CrewDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    """By an import, say: its image is there when images are listed, and the app when it is looked for."""
    crew.engine.image("crew/gone:1")
    listed = Engine.images

    def late(self: Engine, label: str = "") -> list[dict[str, Any]]:
        if not store.exists(crew.paths, "app"):
            crew.app("app")
        return listed(self, label)

    monkeypatch.setattr(Engine, "images", late)
    assert crew.run("cleanup").status == 0
    assert images(crew) == {"crew/app:1"}


def test_what_a_cluster_brought_here_goes_when_it_runs_elsewhere(crew: CrewDevice) -> None:
    names = [f"127.0.0.1:7947/crew/shop@sha256:{number}" for number in (1, 2)]
    for name in (*names, "127.0.0.1:7947/by-hand@sha256:3"):
        crew.engine.image(name)
        crew.engine.images[name]["RepoDigests"] = [name]
    labels = {"crew.cluster.app": "shop"}
    crew.engine.containers["shop_web.1.x"] = Container(
        "shop_web.1.x", names[1], [], {}, {}, labels, "running"
    )
    assert json.loads(crew.run("cleanup", "--json").text)["images"] == 1
    assert images(crew) == {names[1], "127.0.0.1:7947/by-hand@sha256:3"}
    assert "shop_web.1.x" in crew.engine.containers


def test_so_many_releases_are_kept_as_are_asked_for(crew: CrewDevice) -> None:
    crew.app("app")
    assert crew.run("cleanup:set", "--global", "keep-releases", "3").status == 0
    for _ in range(4):
        assert crew.run("ps:restart", "app").status == 0
    assert release.numbers(crew.paths, "app") == [3, 4, 5]
    assert crew.run("cleanup:set", "app", "keep-releases", "1").status == 0
    assert crew.run("cleanup", "app").status == 0
    assert release.numbers(crew.paths, "app") == [5] and images(crew) == {"crew/app:5"}
    # One that is being made, and does not serve yet, is not touched.
    made = release.load(crew.paths, "app", 5)
    assert made is not None
    release.save(crew.paths, "app", made._replace(number=6))
    crew.run("cleanup", "app")
    assert release.numbers(crew.paths, "app") == [5, 6]
    for words in (("app", "keep-releases", "0"), ("app", "build-cache", "5"), ("--global", "x", "5")):
        assert crew.run("cleanup:set", *words).status == 1


def test_the_policy_after_a_deploy(crew: CrewDevice) -> None:
    crew.app("app")
    assert crew.run("cleanup:set", "--global", "build-cache", "2").status == 0
    cleanup.after_deploy(crew.paths, Engine(crew.paths), "app")
    assert [kind for kind, _ in crew.engine.pruned] == ["images", "build"]
    assert json.loads(crew.engine.pruned[0][1]["filters"]) == {
        "dangling": ["true"], "label": ["crew.app.image=app"],
    }  # fmt: skip
    assert crew.engine.pruned[1][1]["keep-storage"] == str(2 << 20)


@pytest.fixture
def job(crew: CrewDevice) -> crontab.Job:
    """A job of an app."""
    made = crew.app("app")
    found = made._replace(app_json={"cron": [{"command": "tidy --all", "schedule": "@daily"}]})
    release.save(crew.paths, "app", found)
    (wanted,) = crontab.jobs(crew.paths, "app")
    return wanted


def ended(crew: CrewDevice, name: str, code: int) -> threading.Thread:
    """Let a container write a line and end, when it runs."""

    def end() -> None:
        while not (name in crew.engine.containers and crew.engine.containers[name].running):
            pass
        crew.engine.write(name, "done")
        crew.engine.end(crew.engine.containers[name], code)

    thread = threading.Thread(target=end, daemon=True)
    thread.start()
    return thread


def test_a_job_runs_in_a_container_of_its_own(crew: CrewDevice, job: crontab.Job) -> None:
    name = f"app.cron.{job.id}"
    thread = ended(crew, name, 3)
    done = crew.run("cron:run", "app", job.id)
    thread.join()
    assert (done.status, done.out) == (3, b"done\n")
    words = crew.engine.argvs[-1]
    assert words[-2:] == ["tidy", "--all"] and "--rm" not in words
    assert name not in crew.engine.containers
    assert crew.run("cron:run", "app", "nonsense").status == 1


def test_a_job_never_overlaps_itself_and_is_bounded(
    crew: CrewDevice, job: crontab.Job, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    name = f"app.cron.{job.id}"
    crew.engine.containers[name] = Container(name, "x", [], {}, {}, {}, "running")
    assert crontab.run(crew.paths, "app", job.id) == 1
    assert "goes on still" in crew.events() and crew.engine.argvs == []
    # What a power cut left is no run.
    crew.engine.containers[name].status = "exited"
    store.change(crew.paths, "app", "cron", lambda section: section.update(time_limit=0.3))
    assert crontab.run(crew.paths, "app", job.id) == 1
    assert "took longer than 0.3 s" in crew.events()
    assert name not in crew.engine.containers
    # One of a stopped app does not run at all.
    store.change(crew.paths, "app", "ps", lambda section: section.update(stopped=True))
    count = len(crew.engine.argvs)
    assert crontab.run(crew.paths, "app", job.id) == 0 and len(crew.engine.argvs) == count


def test_a_list_of_jobs_has_nothing_that_a_terminal_would_obey(crew: CrewDevice, job: crontab.Job) -> None:
    evil = {"command": "tidy\n --all \x1b[2J", "schedule": "@daily\r"}
    made = release.current(crew.paths, "app")
    assert made is not None
    release.save(crew.paths, "app", made._replace(app_json={"cron": [evil]}))
    assert crew.run("cron:list", "app").text[8:] == "  @daily  tidy --all ?[2J\n"


def test_suspended_by_command(crew: CrewDevice, job: crontab.Job) -> None:
    control = crew.paths.root / "etc/service/crew-cron/supervise/control"
    reader = os.open(control, os.O_RDONLY | os.O_NONBLOCK)
    table = crew.paths.run / "crontab"
    assert crew.run("cron:set", "app", "maintenance", "false").status == 0
    assert table.read_text().startswith("0 0 * * * crew cron-run app ")
    assert crew.run("cron:suspend", "app", job.id).status == 0 and not table.exists()
    assert "(suspended)" in crew.run("cron:list", "app").text
    assert crew.run("cron:resume", "app", job.id).status == 0 and table.exists()
    assert json.loads(crew.run("cron:report", "--json", "app").text)["suspended"] == 0
    assert crew.run("apps:destroy", "--force", "app").status == 0 and not table.exists()
    assert os.read(reader, 100) == b"tuttut"
    os.close(reader)


def test_with_its_last_app_the_router_has_nothing_to_do(crew: CrewDevice) -> None:
    crew.app("web", web=["serve"])
    router.apply(crew.paths)
    assert (crew.paths.run / "router/nginx.conf").exists()
    assert crew.run("apps:destroy", "--force", "web").status == 0
    assert not (crew.paths.run / "router/nginx.conf").exists()
    # Started again, and not just ended: only the service itself knows that it has nothing to do.
    wait_for(lambda: crew.router.told == b"ut")
