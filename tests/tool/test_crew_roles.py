"""What a key may do, with every command: a deploy key keeps to its app, a read key changes nothing."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator

import pytest

from skiff_device.common.errors import DeviceError
from skiff_device.crew import keys, main, receive, store
from skiff_device.crew.command import Caller, Command
from tests.tool.crew_device import CrewDevice

DEPLOY = Caller("anna", "deploy", ("mine",))
READ = Caller("rita", "read")


def commands() -> Iterator[Command]:
    for name in main.FAMILIES:
        found = main.family(name.replace("_", "-"))
        assert found is not None, name
        yield from found.commands


COMMANDS = {command.name: command for command in commands()}


def words_for(command: Command, app: str) -> list[str]:
    """A call that names an app, and has something for every other word; nothing that may be left out."""
    usage = re.sub(r"\[(?!APP)(?:[^\[\]]|\[[^\]]*\])*\]…?", "", command.usage)
    bare = [word.strip("[]…").split("|")[0] for word in usage.split()[1:]]
    return [command.name, *(app if word == "APP" else "x" for word in bare)]


def state(crew: CrewDevice) -> dict[str, str]:
    """All that crew keeps, by checksum, but logs and locks."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in crew.paths.crew.rglob("*")
        if path.is_file() and path.name != "events.log"
    }


@pytest.fixture
def two(crew: CrewDevice) -> CrewDevice:
    """A device with an app of the deploy key's, and one that is none of its business."""
    for name in ("mine", "other"):
        crew.app(name)
        store.change_env(crew.paths, name, lambda env: env.update(SECRET="geheim"))
    return crew


def calls(command: Command, app: str) -> Iterator[list[str]]:
    """Calls about an app, and those that try to reach all apps by a flag instead."""
    words = words_for(command, app)
    yield words
    for flag in ("--global", "--all"):
        if flag in command.usage:
            yield [words[0], flag, *words[1:]]
            yield [words[0], flag, *words[2:]]


def test_a_deploy_key_reaches_no_other_app(two: CrewDevice) -> None:
    before, containers = state(two), dict(two.engine.containers)
    for name, command in COMMANDS.items():
        if command.access == "anyone":
            continue
        for call in calls(command, "other"):
            done = two.run(*call, caller=DEPLOY, stdin=b"other\n")
            assert done.status != 0 and "may not use" in done.err and done.out == b"", (call, done)
        # An app that there is and one that there is not look alike.
        gone = two.run(*words_for(command, "gone"), caller=DEPLOY)
        assert gone.err == two.run(*words_for(command, "other"), caller=DEPLOY).err.replace("other", "gone")
        assert state(two) == before and two.engine.containers == containers, name
    assert two.engine.argvs == []


def test_a_read_key_changes_nothing_and_sees_no_secret(two: CrewDevice) -> None:
    before, containers = state(two), dict(two.engine.containers)
    for command in COMMANDS.values():
        for call in calls(command, "mine"):
            done = two.run(*call, caller=READ, stdin=b"mine\n")
            if command.access in ("deploy", "admin"):
                assert done.status != 0 and "may not use" in done.err, (call, done)
            assert "geheim" not in done.text + done.err, call
            assert state(two) == before and two.engine.containers == containers, call
    assert two.engine.argvs == []


def test_what_is_for_admins_is_for_nobody_else(two: CrewDevice) -> None:
    before = state(two)
    wanted = [command for command in COMMANDS.values() if command.access == "admin"]
    assert {"apps:destroy", "backup:export", "ssh-keys:add", "plugin:install"} <= {c.name for c in wanted}
    for command in wanted:
        done = two.run(*words_for(command, "mine"), caller=DEPLOY, stdin=b"mine\n")
        assert done.status != 0 and "may not use" in done.err, (command.name, done)
    assert state(two) == before


def test_a_deploy_key_is_let_to_its_own_app(two: CrewDevice) -> None:
    for command in COMMANDS.values():
        if command.access in ("read", "deploy") and main.takes_app(command):
            done = two.run(*words_for(command, "mine"), caller=DEPLOY)
            assert "may not use" not in done.err, (command.name, done)


def test_every_key_may_ask_what_there_is(two: CrewDevice) -> None:
    for caller in (DEPLOY, READ):
        done = two.run("help", caller=caller)
        assert done.status == 0 and all(command.usage in done.text for command in COMMANDS.values())
        assert two.run("version", caller=caller).status == 0
    assert two.run("config:get", "mine", "SECRET", caller=DEPLOY).text == "geheim\n"


def test_pushes_keep_to_the_apps_of_the_key(two: CrewDevice) -> None:
    for caller, app in ((DEPLOY, "other"), (DEPLOY, "fresh"), (READ, "mine"), (READ, "fresh")):
        with pytest.raises(DeviceError):
            receive.serve(two.paths, caller, f"git-receive-pack '{app}'")
    with pytest.raises(DeviceError):
        receive.serve(two.paths, DEPLOY, "git-upload-pack 'other'")
    assert not (two.paths.app("fresh")).exists()


def test_a_key_that_was_removed_or_spoilt_opens_nothing(two: CrewDevice) -> None:
    two.paths.keys.write_text(json.dumps({"bad": {"role": "root"}, "odd": 1, "anna": {"role": "deploy"}}))
    for name in ("gone", "bad", "odd", "../x", ""):
        with pytest.raises(DeviceError):
            keys.caller(two.paths, name)
    assert keys.caller(two.paths, "anna").apps == ()


def test_a_deploy_key_is_for_all_apps_that_were_named(two: CrewDevice) -> None:
    key = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0mBxXgAkT7hXNgJdQ3GkAkY4JbKkzB3j1m7Q3y9d5C"
    two.run("ssh-keys:add", "ci", "--role", "deploy", "--app", "mine", "--app", "other", stdin=key)
    assert keys.caller(two.paths, "ci") == Caller("ci", "deploy", ("mine", "other"))
