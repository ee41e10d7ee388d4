"""Keys that lead to the log-in and nowhere else, numbers of accounts, and whose processes are ended."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from skiff_device.core import accounts, config, keys, processes, state
from skiff_device.core.accounts import Known
from skiff_device.core.paths import Paths

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIaIHcrMFZX7327yE4hX702XkONGPVsfGbaLbJwnQQph"
FORCED = 'command="/usr/lib/skiff/core/login"'


def test_what_a_container_says_is_one_line_that_no_terminal_obeys() -> None:
    assert state.clean("useradd:\t\x1b]52;c;x\x07\x9b2J gräßlich\n") == "useradd: ?]52;c;x??2J gräßlich"


@pytest.mark.parametrize(
    ("line", "expected", "warning"),
    [
        (f"{KEY} me@there", f"{FORCED} {KEY} me@there\n", ""),
        (f"no-pty,no-agent-forwarding {KEY}", f"{FORCED},no-pty,no-agent-forwarding {KEY}\n", ""),
        (f'command="/bin/sh -c \\"id\\"" {KEY} x', "", "its option command cannot be kept"),
        (f'no-pty,command="a,b" {KEY} x', "", "its option command cannot be kept"),
        (f'no-pty,environment="A=b" {KEY} x', f"{FORCED},no-pty {KEY} x\n", "without its option environment"),
        (f'from="10.0.0.1" {KEY} x', "", "left out: its option from"),
        ("# a comment", "", ""),
        ("nonsense", "", "not a public key"),
        ('command="x', "", "not a public key"),
        ("ssh-ed25519 AAAA", "", "not a public key"),
        ("ssh-rsa " + KEY.split()[1], "", "not a public key"),
        (f"{KEY} a\x07b", f"{FORCED} {KEY} ab\n", ""),
    ],
)
def test_keys(line: str, expected: str, warning: str) -> None:
    warnings: list[str] = []
    assert keys.forced([line], "here", warnings.append) == expected
    assert (warning in "".join(warnings)) if warning else warnings == []


def test_a_key_counts_once() -> None:
    assert keys.forced([KEY, f"{KEY} again"], "", lambda text: None).count("\n") == 1


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    for name in ("etc", "proc", "mnt/persist/skiff/core"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nother:x:1000:1000::/:/bin/false\n")
    (tmp_path / "etc/group").write_text("root:x:0:\ndocker:x:990:\n")
    return Paths(tmp_path)


def numbers(paths: Paths) -> dict[str, int]:
    return accounts.read_passwd(paths).ours


def bring(paths: Paths, *names: str) -> None:
    users = "".join(f"  {name}: {{container: cc, auth: {{sshKeys: ['{KEY}']}}}}\n" for name in names)
    text = "containers:\n  cc: {image: x}\nusers:\n" + users
    accounts.apply(config.parse(text), paths, lambda text: None)


def test_numbers_are_free_ones_from_1000(paths: Paths) -> None:
    bring(paths, "anna", "bob")
    assert numbers(paths) == {"anna": 1001, "bob": 1002}
    bring(paths, "bob", "carl")
    # One who leaves may still have processes: that number rests until the next time.
    assert numbers(paths) == {"bob": 1002, "carl": 1003}
    bring(paths, "bob", "carl", "dora")
    assert numbers(paths)["dora"] == 1001


def test_the_number_inside_is_taken_when_free(paths: Paths) -> None:
    bring(paths, "anna", "bob")
    known = {"anna": Known(1234, "/home/anna", "/bin/bash"), "bob": Known(1000, "", "")}
    paths.known.parent.mkdir(parents=True, exist_ok=True)
    paths.known.write_text(accounts.known_text(known, {}))
    bring(paths, "anna", "bob")
    assert numbers(paths) == {"anna": 1234, "bob": 1002}


def test_others_are_reserved_and_left_as_they_are(paths: Paths) -> None:
    bring(paths, "anna")
    assert accounts.reserved(paths) == {"root", "other", "docker"}
    assert (paths.etc / "passwd").read_text().startswith("root:x:0:0::/root:/bin/sh\nother:x:1000:")


def process(paths: Paths, pid: int, uid: int, parent: int, name: str = "sh", space: str = "mnt:[1]") -> None:
    folder = paths.proc / str(pid)
    (folder / "ns").mkdir(parents=True)
    (folder / "ns/mnt").symlink_to(space)
    (folder / "status").write_text(f"Name:\t{name}\nPPid:\t{parent}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")


def test_sessions_end_with_their_connection_and_containers_are_left_alone(paths: Paths) -> None:
    (paths.proc / "self/ns").mkdir(parents=True)
    (paths.proc / "self/ns/mnt").symlink_to("mnt:[1]")
    process(paths, 10, 0, 1, "dropbear")
    process(paths, 20, 0, 10, "dropbear")
    process(paths, 21, 1001, 20)
    process(paths, 22, 1001, 21)
    process(paths, 30, 0, 10, "dropbear")
    process(paths, 31, 1002, 30)
    process(paths, 40, 1001, 1, space="mnt:[2]")
    killed: list[tuple[int, int]] = []
    assert processes.end_sessions(paths.proc, 1001, lambda *call: killed.append(call)) == 3
    assert killed == [(20, signal.SIGKILL), (21, signal.SIGKILL), (22, signal.SIGKILL)]


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("core", Known(1000, "/home/core", "/bin/bash")),
        ("1000:50", Known(1000, "/home/core", "/bin/bash")),
        ("", Known(0, "/root", "")),
        ("nobody", None),
    ],
)
def test_users_inside(user: str, expected: Known | None) -> None:
    text = "root:x:0:0::/root:sh\ncore:x:1000:1000::/home/core:/bin/bash\nbad\n"
    assert accounts.inside(text, user) == expected


@pytest.mark.parametrize("number", ["²", "1" * 5000, "١", "-1", "", "1_0"])
def test_what_a_container_calls_a_number_may_be_none(number: str) -> None:
    assert accounts.inside(f"core:x:{number}:1::/home/core:/bin/sh\n", "core") is None
