"""`skiff crew`: which word is the device, and that words, streams and status arrive as they are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from skiff.__main__ import main
from skiff.host.run import run
from skiff.machine import crew
from skiff_device.crew import main as device
from tests.tool.fake_machine import FAKES, FakeHost

SKIFF = [sys.executable, "-m", "skiff"]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHost]:
    fake = FakeHost(tmp_path, monkeypatch)
    monkeypatch.setenv("SKIFF_WORKSPACES", str(tmp_path / "ws"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    yield fake
    fake.end_all()


def test_the_commands_without_a_colon_are_those_of_the_device() -> None:
    commands = {
        command.name
        for family in device.FAMILIES
        if (found := device.family(family.replace("_", "-"))) is not None
        for command in found.commands
    }
    assert set(crew.PLAIN) == {name for name in commands if ":" not in name}
    # None of the others can be taken for a device.
    assert all(crew.split([name, "x"]) == ("", [name, "x"]) for name in commands)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ("", [])),
        (["apps:list"], ("", ["apps:list"])),
        (["logs", "app", "-t"], ("", ["logs", "app", "-t"])),
        (["device", "logs", "app"], ("device", ["logs", "app"])),
        (["device.local", "apps:list"], ("device.local", ["apps:list"])),
        (["crew@logs", "help"], ("crew@logs", ["help"])),
        (["ssh://crew@device:2222", "help"], ("ssh://crew@device:2222", ["help"])),
    ],
)
def test_the_first_word_is_a_device_unless_it_is_a_command(
    words: list[str], expected: tuple[str, list[str]]
) -> None:
    assert crew.split(words) == expected


def test_words_streams_and_status_of_a_device_by_name(host: FakeHost) -> None:
    data = bytes(range(256)) * 50
    script = 'printf "%s|" "$@"; cat; echo err >&2; exit 7'
    words = ["a b", "", "-x", "--", "'\"$x`", "two\nlines", "--help"]
    done = run([*SKIFF, "crew", "device.local", "sh", "-c", script, "sh", *words], input=data, check=False)
    assert done.stdout == "".join(f"{word}|" for word in words).encode() + data
    assert (done.stderr, done.returncode) == (b"err\n", 7)
    call = host.calls("ssh")[-1]
    assert call[1] == "-T" and call[call.index("-l") + 1] == "crew" and call[-3] == "device.local"
    run([*SKIFF, "crew", "joe@device", "true"], input=b"")
    assert "-l" not in host.calls("ssh")[-1]


def test_a_terminal_only_for_what_is_worked_with_there() -> None:
    assert crew.wants_tty(["enter", "app"]) and crew.wants_tty(["run", "app", "sh"])
    assert not crew.wants_tty(["backup:export"]) and not crew.wants_tty([])
    assert crew.argv("device", ["enter", "app"], tty=True)[1] == "-t"


def test_what_is_no_device_and_no_machine_is_told(host: FakeHost, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["crew", "--", "-oProxyCommand=x", "apps:list"]) == 2
    assert "is no device" in capfd.readouterr().err
    assert main(["crew", "apps:list"]) == 2
    assert "no machine of workspace default is running" in capfd.readouterr().err
    assert host.calls("ssh") == []


# Lets root in and nobody else, and says no more of it.
ROOT_ONLY = f"""case "$*" in
*"-l root"* | *root@*) exec {sys.executable} {FAKES}/ssh.py "$@" ;;
*) echo 'Permission denied (publickey).' >&2; exit 255 ;;
esac"""


@pytest.mark.parametrize(
    ("device", "asked"),
    [
        ("device.local", "root@device.local"),
        ("crew@device.local", "root@device.local"),
        ("ssh://crew@device.local:2222", "ssh://root@device.local:2222"),
    ],
)
def test_a_device_without_crew_is_told(
    host: FakeHost, capfd: pytest.CaptureFixture[str], device: str, asked: str
) -> None:
    host.program("ssh", ROOT_ONLY)
    host.program("id", "exit 1")
    assert main(["crew", device, "apps:list"]) == 2
    said = capfd.readouterr().err
    assert said.startswith("Permission denied (publickey).\n")
    assert f"{device} has no user crew: its image is without apps/crew\n" in said
    assert "hint: add apps/crew to the image's layers" in said
    assert [call[-3:] for call in host.calls("ssh")] == [[asked, "--", "id -u crew"]]


def test_a_device_that_has_crew_or_is_not_root_s_is_left_to_ssh(
    host: FakeHost, capfd: pytest.CaptureFixture[str]
) -> None:
    host.program("ssh", ROOT_ONLY)
    host.program("id", "exit 0")
    assert main(["crew", "device.local", "apps:list"]) == 255
    # Somebody who is named is nobody's layer.
    assert main(["crew", "joe@device.local", "apps:list"]) == 255
    assert len(host.calls("ssh")) == 1
    host.ssh(refuse="Could not resolve hostname")
    host.program("ssh", f'exec {sys.executable} {FAKES}/ssh.py "$@"')
    assert main(["crew", "device.local", "apps:list"]) == 255
    assert "hint" not in capfd.readouterr().err
