"""`logs`: several containers in one stream, live, until nobody reads."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.tool.crew_device import CrewDevice


def read_line(process: subprocess.Popen[bytes]) -> str:
    """The next line; the test's own time limit ends one that never comes."""
    assert process.stdout is not None
    return process.stdout.readline().decode().rstrip("\n")


@pytest.fixture
def two(crew: CrewDevice) -> CrewDevice:
    crew.app("app", web=None, worker=["work"])
    crew.engine.write("app.web.1-1", "one", "2026-01-02T03:04:05.000000001Z")
    crew.engine.write("app.worker.1-1", "two", "2026-01-02T03:04:05.000000002Z", stream=2)
    crew.engine.write("app.web.1-1", "three", "2026-01-02T03:04:06.000000001Z")
    return crew


def test_lines_of_all_containers_are_in_order_of_time(two: CrewDevice) -> None:
    assert two.run("logs", "app").text.splitlines() == [
        "2026-01-02T03:04:05.000000001Z app[web.1]: one",
        "2026-01-02T03:04:05.000000002Z app[worker.1]: two",
        "2026-01-02T03:04:06.000000001Z app[web.1]: three",
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-q", "app"], ["one", "two", "three"]),
        (["app", "-q", "-p", "web"], ["one", "three"]),
        (["-q", "--ps", "worker.1", "app"], ["two"]),
        (["-q", "-n", "1", "app"], ["two", "three"]),
        (["-q", "--num=1", "-p", "web.1", "app"], ["three"]),
    ],
)
def test_logs_are_limited(two: CrewDevice, words: list[str], expected: list[str]) -> None:
    assert two.run("logs", *words).text.splitlines() == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-p", "other", "app"], "no such container"),
        (["-p", "web.9", "app"], "no such container"),
        (["-p", "../web", "app"], "no process type"),
        (["-p", "web.x", "app"], "no number"),
        (["-n", "0", "app"], "no number"),
        (["-n", "$(id)", "app"], "no number"),
        (["--since", "app"], "unknown option"),
        (["other"], "no app"),
    ],
)
def test_what_means_nothing_is_refused(two: CrewDevice, words: list[str], message: str) -> None:
    done = two.run("logs", *words)
    assert (done.status, done.out) == (1, b"") and message in done.err


def test_a_line_without_an_end_is_shown(crew: CrewDevice) -> None:
    crew.app("app")
    crew.engine.write("app.worker.1-1", "x" * 200_000)
    assert crew.run("logs", "-q", "app").out.replace(b"\n", b"") == b"x" * 200_000


def test_new_lines_come_as_they_are_written_and_those_of_a_new_release_too(two: CrewDevice) -> None:
    process = two.start("logs", "-t", "-q", "-n", "1", "app")
    assert {read_line(process), read_line(process)} == {"two", "three"}
    two.engine.write("app.worker.1-1", "four", "2026-01-02T03:04:07.000000001Z")
    assert read_line(process) == "four"
    two.run("ps:scale", "--no-restart", "app", "web=0")
    assert two.run("ps:restart", "app").status == 0
    two.engine.write("app.worker.1-2", "five", "2026-01-02T03:04:08.000000001Z")
    assert read_line(process) == "five"
    two.engine.end(two.engine.containers["app.worker.1-2"])
    assert process.wait(10) == 0


def test_a_container_that_starts_again_is_followed_again(crew: CrewDevice) -> None:
    crew.app("app", count=2)
    one = crew.engine.containers["app.worker.1-1"]
    crew.engine.write(one.name, "before", "2026-01-02T03:04:05.000000001Z")
    process = crew.start("logs", "-t", "-q", "app")
    assert read_line(process) == "before"
    crew.engine.end(one, 1)
    one.status = "running"
    crew.engine.write(one.name, "after", "2026-01-02T03:04:06.000000001Z")
    assert read_line(process) == "after"
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130


def test_a_follower_goes_on_after_an_engine_that_was_restarted(crew: CrewDevice) -> None:
    crew.app("app")
    crew.engine.write("app.worker.1-1", "still there")
    crew.engine.breaks_off = True
    process = crew.start("logs", "-t", "-q", "app")
    assert read_line(process) == "still there"
    assert not crew.engine.breaks_off
    crew.engine.end(crew.engine.containers["app.worker.1-1"])
    assert process.wait(10) == 0


def test_a_follower_ends_when_nobody_reads_though_nothing_is_written(crew: CrewDevice) -> None:
    crew.app("app")
    crew.engine.write("app.worker.1-1", "x")
    process = crew.start("logs", "-t", "-q", "app")
    assert read_line(process) == "x"
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(10) == 1
