"""`run` and `enter`: programs in containers, joined with the client's own streams."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys

import pytest

from skiff_device.crew.command import Caller
from tests.tool.crew_device import SOURCE, CrewDevice, wait_for

DEPLOYER = Caller("anna", "deploy", ("app",))
READER = Caller("eve", "read")


@pytest.fixture
def app(crew: CrewDevice) -> CrewDevice:
    crew.app("app")
    return crew


def one_offs(crew: CrewDevice) -> list[str]:
    """Names of one-off containers that there are."""
    return [name for name in crew.engine.containers if ".run." in name]


def test_bytes_and_status_go_through_as_they_are(app: CrewDevice) -> None:
    sent = bytes(range(256)) * 4096
    process = app.start("run", "app", "sh", "-c", "cat; echo said >&2; exit 7")
    out, err = process.communicate(sent, timeout=30)
    assert (out, err, process.returncode) == (sent, b"said\n", 7)
    assert one_offs(app) == []
    assert "root app: run sh" in app.events()


def test_words_of_the_command_are_its_own(app: CrewDevice) -> None:
    process = app.start(
        "run", "--env", "A=b c", "--no-tty", "app", "--", "printf", "%s|", "--env", "$A", "-T"
    )
    assert process.communicate(timeout=30)[0] == b"--env|$A|-T|"
    assert app.engine.argvs[-1][-5:] == ["printf", "%s|", "--env", "$A", "-T"]
    process = app.start("run", "-e", "A=b c", "app", "sh", "-c", 'echo "$A $CREW_APP"', "--help")
    assert process.communicate(timeout=30)[0] == b"b c app\n"


def test_options_may_come_again(app: CrewDevice) -> None:
    words = ("--env", "A=1", "-e=B=2", "-e", "C=3", "--env", "A=4", "app", "env")
    name = app.run("run:detached", *words).text.strip()
    assert {"A": "4", "B": "2", "C": "3"}.items() <= app.engine.containers[name].env.items()


def test_detached_ones_are_listed_and_stopped(app: CrewDevice) -> None:
    name = app.run("run:detached", "app", "sleep", "9").text.strip()
    assert "--rm" in app.engine.containers[name].options
    [row] = json.loads(app.run("run:list", "--json", "app").out)
    assert (row["name"], row["state"], row["command"]) == (name, "running", "sleep 9")
    app.engine.write(name, "hello")
    assert app.run("logs", "-q", "-p", "run", "app").out == b"hello\n"
    assert app.run("run:stop", "app", name.rpartition(".")[2]).status == 0
    assert one_offs(app) == [] and f"app: run:stop {name}" in app.events()
    assert app.run("run:stop", "app", "app.worker.1-1").status == 1


def test_a_lost_connection_removes_the_container(app: CrewDevice) -> None:
    process = app.start("run", "app", "sh", "-c", "echo ready; exec sleep 600")
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    process.stdout.close()
    assert process.wait(10) == 1
    assert one_offs(app) == []


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_so_does_a_signal(app: CrewDevice, number: int) -> None:
    process = app.start("run", "app", "sh", "-c", "echo ready; exec sleep 600")
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    assert process.wait(10) == 130
    assert one_offs(app) == []


def test_a_program_that_writes_before_it_reads_hangs_nobody(app: CrewDevice) -> None:
    process = app.start("run", "app", "sh", "-c", "head -c 3000000 /dev/zero; cat >/dev/null; echo; echo end")
    out, _ = process.communicate(b"x" * 3_000_000, timeout=30)
    assert len(out) == 3_000_005 and out.endswith(b"\nend\n")


def test_with_a_terminal_the_container_gets_one(app: CrewDevice) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "skiff_device.crew", "run", "app", "sh", "-c", "read line; echo got $line"],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    wait_for(lambda: any("resize" in call for call in app.engine.calls))
    os.write(ours, b"key\n")
    said = b""
    # Linux ends it with an error when the program has closed its side.
    with contextlib.suppress(OSError):
        while b"got key" not in said:
            said += os.read(ours, 100)
    assert (process.wait(30), b"got key" in said) == (0, True), said
    assert "--tty" in app.engine.argvs[-1]
    os.close(ours)


def test_enter_runs_in_a_container_that_serves(app: CrewDevice) -> None:
    process = app.start("enter", "app", "worker.1", "sh", "-c", "cat; exit 5")
    assert process.communicate(b"x", timeout=30)[0] == b"x"
    assert process.returncode == 5
    assert app.engine.execs["exec0"]["Cmd"] == ["sh", "-c", "cat; exit 5"]
    process = app.start("enter", "app", "echo", "worker")
    assert process.communicate(timeout=30)[0] == b"worker\n"
    process = app.start("enter", "app", "worker")
    assert process.communicate(b"echo shell\n", timeout=30)[0] == b"shell\n"


def test_enter_tells_why_it_cannot(app: CrewDevice) -> None:
    assert "no such container" in app.run("enter", "app", "worker.9", "id").err
    app.engine.end(app.engine.containers["app.worker.1-1"])
    assert "is not running" in app.run("enter", "app", "id").err
    app.run("ps:stop", "app")
    assert "app does not run" in app.run("enter", "app", "id").err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "app"], "command is missing"),
        (["run"], "app is missing"),
        (["run", "../app", "id"], "no name of an app"),
        (["run", "app", "a\0b"], "NUL"),
        (["run", "--env", "A", "app", "id"], "no NAME=VALUE"),
        (["run", "--env", "A-B=c", "app", "id"], "no variable"),
        (["run", "--env", "A=\0", "app", "id"], "no NAME=VALUE"),
        (["run", "--privileged", "app", "id"], "unknown option"),
        (["run", "--volume=/:/host", "app", "id"], "unknown option"),
        (["run", "empty", "id"], "never deployed"),
        (["run:stop", "app", "-x"], "unknown option"),
    ],
)
def test_hostile_words_are_refused_and_nothing_is_made(
    app: CrewDevice, words: list[str], message: str
) -> None:
    app.run("apps:create", "empty")
    done = app.run(*words)
    assert done.status == 1 and message in done.err
    assert one_offs(app) == [] and app.engine.argvs == []


def test_keys_may_run_only_in_their_apps(app: CrewDevice) -> None:
    app.app("other")
    for caller, words in [
        (DEPLOYER, ["run", "other", "id"]),
        (DEPLOYER, ["enter", "other", "id"]),
        (READER, ["run", "app", "id"]),
        (READER, ["run:detached", "app", "id"]),
        (READER, ["run:stop", "app"]),
        (READER, ["enter", "app", "id"]),
    ]:
        assert "may not use" in app.run(*words, caller=caller).err
    assert app.run("run:detached", "app", "id", caller=DEPLOYER).status == 0


def test_one_off_containers_go_with_their_app(app: CrewDevice) -> None:
    app.run("run:detached", "app", "sleep", "9")
    assert app.run("apps:destroy", "--force", "app").status == 0
    assert app.engine.containers == {}


def test_after_a_boot_ended_ones_are_put_away(app: CrewDevice) -> None:
    ended, running = (app.run("run:detached", "app", "sleep", "9").text.strip() for _ in range(2))
    app.engine.end(app.engine.containers[ended], 1)
    process = app.start("restore")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert one_offs(app) == [running]
