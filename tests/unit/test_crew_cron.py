"""Scheduled jobs: times as cron has them, jobs of an app.json, and the table that crond gets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from skiff_device.common.errors import DeviceError
from skiff_device.crew import crontab, release, schedule, store
from skiff_device.crew.paths import Paths
from skiff_device.crew.release import Release


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("* * * * *", "* * * * *"),
        ("*/15 0-6/3 1,15 * *", "0,15,30,45 0,3,6 1,15 * *"),
        ("5 4 * jan-MAR sun", "5 4 * 1,2,3 0"),
        ("0 0 * * 5-7", "0 0 * * 0,5,6"),
        ("50/5 * * * 7", "50,55 * * * 0"),
        (" @daily ", "0 0 * * *"),
    ],
)
def test_a_schedule_is_written_out(text: str, fields: str) -> None:
    assert schedule.fields(text) == fields


@pytest.mark.parametrize(
    "text",
    [
        "", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8",
        "*/0 * * * *", "5-1 * * * *", "a * * * *", "* * * * *\n* * * * * id", "@reboot", "1,,2 * * * *",
        "-1 * * * *", "$(id) * * * *", "* " * 1000,
    ],
)  # fmt: skip
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(DeviceError):
        # A line of its own in crond's table would be a command of its own.
        assert "\n" not in schedule.fields(text)


@pytest.mark.parametrize(
    ("cron", "place"),
    [
        ({}, "app.json: cron: "),
        ([1], r"cron\[0\]"),
        ([{"command": "a", "schedule": "@daily"}, {"command": "b"}], r"cron\[1\]"),
        ([{"command": "a\0", "schedule": "@daily"}], r"cron\[0\]\.command"),
        ([{"command": "a", "schedule": "often"}], r"cron\[0\]\.schedule"),
        ([{"command": "a", "schedule": "@daily"}] * 99, "at most|expected a list"),
    ],
)
def test_a_bad_job_is_told_with_its_place(cron: Any, place: str) -> None:
    with pytest.raises(DeviceError, match=place):
        crontab.parse({"cron": cron})


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path)
    paths.persist_flag.parent.mkdir(parents=True)
    paths.persist_flag.touch()
    control = tmp_path / "etc/service/crew-cron/supervise/control"
    control.parent.mkdir(parents=True)
    os.mkfifo(control)
    return paths


@pytest.fixture
def asked(paths: Paths) -> Any:
    """What the supervisor of the service was told since the last look."""
    reader = os.open(paths.root / "etc/service/crew-cron/supervise/control", os.O_RDONLY | os.O_NONBLOCK)

    def read() -> bytes:
        try:
            return os.read(reader, 100)
        except BlockingIOError:
            return b""

    yield read
    os.close(reader)


def serving(paths: Paths, app: str, *cron: dict[str, Any]) -> None:
    """An app with a release that has those jobs."""
    store.create(paths, app)
    one = Release(1, "now", "test", "sha256:1", f"crew/{app}:1", app_json={"cron": list(cron)})
    release.save(paths, app, one)
    release.point_at(paths, app, 1)


def table(paths: Paths) -> list[str]:
    path = paths.run / "crontab"
    return path.read_text().splitlines() if path.exists() else []


def test_crond_runs_only_while_there_is_a_job(paths: Paths, asked: Any) -> None:
    serving(paths, "quiet")
    crontab.write(paths)
    assert table(paths) == [] and asked() == b""

    serving(paths, "app", {"command": "echo $(id) %\n; rm", "schedule": "*/30 * * * *"})
    crontab.write(paths)
    (job,) = crontab.jobs(paths, "app")
    # No word of the command's: it is looked up by the job's id.
    assert table(paths) == [f"0,30 * * * * crew cron-run app {job.id} 2>&1 | logger -t crew-cron"]
    assert asked() == b"tu"
    crontab.write(paths)
    assert asked() == b"", "nothing changed, and crond was started anew"

    store.change(paths, "app", "cron", lambda section: section.update(jobs={job.id: True}))
    crontab.write(paths)
    assert table(paths) == [] and asked() == b"t"


def test_maintenance_holds_jobs_back_until_they_are_resumed(paths: Paths, asked: Any) -> None:
    job = {"command": "a", "schedule": "@daily", "maintenance": True}
    serving(paths, "app", job, {"command": "b", "schedule": "@daily"})
    crontab.write(paths)
    assert len(table(paths)) == 1
    held = next(one for one in crontab.jobs(paths, "app") if one.suspended)
    store.change(paths, "app", "cron", lambda section: section.update(jobs={held.id: False}))
    crontab.write(paths)
    assert len(table(paths)) == 2
    store.change(paths, "app", "cron", lambda section: section.update(maintenance=True))
    crontab.write(paths)
    assert table(paths) == []


def test_without_a_supervisor_it_is_told_and_nothing_fails(
    paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    (paths.root / "etc/service/crew-cron/supervise/control").unlink()
    serving(paths, "app", {"command": "a", "schedule": "@daily"})
    crontab.write(paths)
    assert "crew-cron cannot be reached" in capsys.readouterr().err
