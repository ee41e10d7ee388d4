"""What `skiff ssh` hands to ssh: words, streams and status must arrive as they are."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from skiff.host.run import run
from skiff.machine import ssh
from skiff.machine.remote import device
from tests.tool.fake_machine import FakeHost

TARGET = ssh.Target(port=2222, known_hosts=Path("/ws/known_hosts"), keys=(Path("/ws/key"),))

HOSTILE = [
    ["two words"],
    ["$HOME", "`id`", "$(id)"],
    ["a'b", 'c"d', "e\\f"],
    ["line\nline", "tab\there"],
    ["", " ", "*", "~", "#x"],
    ["-rf", "--", "-o", "ProxyCommand=x"],
    ["ä€😀", "a;b&c|d>e<f"],
    ["{a,b}", "[x]", "!1", "%h"],
]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHost]:
    fake = FakeHost(tmp_path, monkeypatch)
    fake.program("show", 'exec python3 -c "import json,sys; print(json.dumps(sys.argv[1:]))" "$@"')
    yield fake
    fake.end_all()


def settings(words: list[str]) -> dict[str, str]:
    """What ssh makes of its -o words: the first value of each key counts."""
    found: dict[str, str] = {}
    for at, word in enumerate(words):
        if word == "-o":
            key, _, value = words[at + 1].partition("=")
            found.setdefault(key, value)
    return found


@pytest.mark.parametrize("words", HOSTILE)
def test_words_arrive_exactly(host: FakeHost, words: list[str]) -> None:
    done = run(ssh.argv(TARGET, ["show", *words]))
    assert json.loads(done.stdout) == words


def test_every_byte_of_a_word_arrives(host: FakeHost) -> None:
    # As Python hands over arguments that are no UTF-8.
    word = bytes(range(1, 256)).decode("utf-8", errors="surrogateescape")
    done = run(ssh.argv(TARGET, ["printf", "%s", word]))
    assert done.stdout == bytes(range(1, 256))


def test_streams_are_binary_and_the_status_is_the_programs(host: FakeHost) -> None:
    data = bytes(range(256)) * 1000
    assert run(ssh.argv(TARGET, ["cat"]), input=data).stdout == data
    done = run(ssh.argv(TARGET, ["sh", "-c", "echo out; echo err >&2; exit 42"]), check=False)
    assert (done.returncode, done.stdout, done.stderr) == (42, b"out\n", b"err\n")


def test_the_whole_line_without_a_command() -> None:
    words = ssh.argv(TARGET, tty=True)
    assert words[:8] == ["ssh", "-t", "-p", "2222", "-l", "root", "-i", "/ws/key"]
    assert words[-1] == "127.0.0.1"
    assert "--" not in words


def test_without_terminal_none_is_asked_for() -> None:
    assert ssh.argv(TARGET, ["ls"])[1] == "-T"


def test_host_keys_are_kept_in_the_workspace() -> None:
    found = settings(ssh.argv(TARGET))
    assert found["StrictHostKeyChecking"] == "accept-new"
    assert found["UserKnownHostsFile"] == "/ws/known_hosts"
    # Kept under one name, whatever port the next run takes.
    assert found["HostKeyAlias"] == "skiff"
    assert found["ControlMaster"] == "no"


def test_a_path_with_spaces_is_one_path() -> None:
    target = ssh.Target(port=1, known_hosts=Path("/my files/100%/hosts"))
    done = run(["ssh", "-G", *ssh.argv(target)[1:]])
    assert b"userknownhostsfile /my files/100%/hosts" in done.stdout.lower()


@pytest.mark.parametrize("way", ["machine", "plain line", "device"])
@pytest.mark.parametrize("folder", ["a b", "100%", "50% off"])
def test_a_key_is_one_path(way: str, folder: str, tmp_path: Path) -> None:
    key = tmp_path / folder / "key"
    key.parent.mkdir()
    key.touch()
    target = ssh.Target(port=1, known_hosts=None, keys=(key,))
    lines = {
        "machine": ssh.argv(target),
        "plain line": shlex.split(ssh.plain_line(target)),
        "device": [*device("board", key=key).ssh, "board"],
    }
    # Keys are looked for once there is a connection, which this program stands for.
    done = run(["ssh", "-v", "-o", "ProxyCommand=true", *lines[way][1:]], check=False)
    assert re.findall(r"identity file (.*) type", done.stderr.decode()) == [str(key), f"{key}-cert"]


def test_without_persist_no_host_key_is_kept() -> None:
    found = settings(ssh.argv(ssh.Target(port=1, known_hosts=None)))
    assert found["StrictHostKeyChecking"] == "no"
    assert found["UserKnownHostsFile"] == "/dev/null"


def test_batch_never_asks() -> None:
    assert settings(ssh.argv(TARGET, batch=True))["BatchMode"] == "yes"


def test_options_of_the_caller_win() -> None:
    assert settings(ssh.argv(TARGET, options=("ControlMaster=auto",)))["ControlMaster"] == "auto"


def test_the_workspaces_key_comes_before_the_users_own(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    own = home / ".ssh" / "id_ed25519"
    own.touch()
    made = tmp_path / "made"
    assert ssh.usable_keys(made, home) == (own,)
    made.touch()
    assert ssh.usable_keys(made, home) == (made, own)
    # An agent full of other keys would make the server hang up before ours is tried.
    assert settings(ssh.argv(ssh.Target(port=1, known_hosts=None, keys=(made,))))["IdentitiesOnly"] == "yes"


def test_the_plain_line_can_be_pasted(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    key = folder / "key"
    key.touch()
    line = ssh.plain_line(ssh.Target(port=7, known_hosts=folder / "hosts", keys=(key,)))
    done = run(["sh", "-c", line.replace("ssh", "ssh -G", 1)])
    said = done.stdout.decode()
    assert f"userknownhostsfile {folder}/hosts\n" in said
    assert f"identityfile {key}\n" in said
    assert "port 7" in said
