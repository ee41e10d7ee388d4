"""Users of core as containers tell them, or as they are made in there: accounts, homes and numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tool.core_board import CONFIG, KEY, ODD, Board


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def test_accounts_follow_the_container(board: Board) -> None:
    assert board.apply() == 0
    assert "core:x:1005:990::/home/core:/usr/lib/skiff/core/login\n" in board.read("etc/passwd")
    assert "core:*:" in board.read("etc/shadow")
    assert board.read("run/skiff/core/users/core").splitlines() == [
        "container=core",
        "user=core",
        "home=/home/core",
        "shell=/bin/zsh",
    ]
    assert board.read("home/core/.ssh/authorized_keys") == f'command="/usr/lib/skiff/core/login" {KEY}\n'


def test_a_missing_container_user_is_made(board: Board) -> None:
    text = CONFIG.format(1).replace(
        "containerUser: core", "containerUser: anna\n    createContainerUser: true"
    )
    board.config(text)
    assert board.apply() == 0
    assert "shell=/bin/bash" in board.read("run/skiff/core/users/core")


@pytest.mark.parametrize(
    ("owner", "others", "number"),
    [
        # The number it had, for files that outlived its container.
        ("", "", 1006),
        # A home that did says more, unless it is the engine's empty folder.
        ("1042", "", 1042),
        ("0", "", 1006),
        # Somebody else's in there.
        ("", "zoe:x:1006:1006::/home/zoe:/bin/sh\n", 1007),
    ],
)
def test_a_user_that_is_made_anew_keeps_its_number(
    board: Board, owner: str, others: str, number: int
) -> None:
    made = "containerUser: anna\n    createContainerUser: true"
    board.config(CONFIG.format(1).replace("containerUser: core", made))
    board.apply()
    assert "anna:x:1006:" in (board.engine / "passwd").read_text()
    (board.engine / "passwd").write_text(f"root:x:0:0::/root:/bin/sh\n{others}")
    if owner:
        (board.engine / "owner").write_text(owner)
    board.config(CONFIG.format(2).replace("containerUser: core", made))
    assert board.apply() == 0
    assert f"anna:x:{number}:" in (board.engine / "passwd").read_text()


def test_who_is_new_does_not_get_a_number_that_another_had(board: Board) -> None:
    before = (board.engine / "passwd").read_text()
    line = "  {0}: {{container: core, containerUser: {0}, createContainerUser: true}}\n"
    text = CONFIG.format(1)
    board.config(text.replace("users:\n", "users:\n" + line.format("anna")))
    board.apply()
    (board.engine / "passwd").write_text(before)
    board.config(text.replace("users:\n", "users:\n" + line.format("bob") + line.format("anna")))
    board.apply()
    assert "anna:x:1006:1006::/home/anna:/bin/bash\nbob:x:1007:" in (board.engine / "passwd").read_text()


def test_what_one_container_said_of_a_user_is_not_taken_for_another(board: Board) -> None:
    """Home and shell may be missing there; the number stays, for files that both see."""
    board.apply()
    (board.engine / "passwd.other").write_text("root:x:0:0::/root:/bin/sh\n")
    other = CONFIG.format(1).replace("users:\n", "  other: {image: 'local/core:latest'}\nusers:\n")
    board.config(other.replace("container: core", "container: other"))
    # Nor before it is asked.
    (board.engine / "down").touch()
    board.apply()
    unknown = "container=other\nuser=core\nhome=\nshell=/bin/sh\n"
    assert board.read("run/skiff/core/users/core") == unknown
    (board.engine / "down").unlink()
    assert board.apply() == 0
    assert board.read("run/skiff/core/users/core") == unknown
    assert "core:x:1005:" in board.read("etc/passwd")


def test_a_user_that_a_new_image_lacks_has_no_home(board: Board) -> None:
    board.apply()
    (board.engine / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    assert board.apply() == 0
    assert "home=\nshell=/bin/sh\n" in board.read("run/skiff/core/users/core")
    assert "core:x:1005:" in board.read("etc/passwd")


def test_a_container_whose_users_cannot_be_made_does_not_hold_up_the_other(board: Board) -> None:
    (board.engine / "passwd.odd").write_text("root:x:0:0::/root:/bin/sh\n")
    (board.engine / "hangs").write_text("odd")
    text = CONFIG.format(1).replace("containers:\n", "containers:\n" + ODD)
    user = "users:\n  anna: {container: odd, containerUser: anna, createContainerUser: true}\n"
    board.config(text.replace("users:\n", user))
    done = board.run("apply")
    assert "warning: odd: user anna is not looked after: docker exec is late: 60 s" in done.stderr
    assert board.line()[:2] == board.line("odd")[:2] == ["ok", "running"]
    assert "home=/home/core\n" in board.read("run/skiff/core/users/core")
    assert "late" in board.read("run/skiff/status/core")


def test_a_removed_user_and_container_are_out_but_kept(board: Board) -> None:
    board.apply()
    board.config("containers: {}\n")
    assert board.apply() == 0
    assert "core" not in board.read("etc/passwd")
    assert not (board.root / "home/core/.ssh/authorized_keys").exists()
    assert not (board.root / "run/skiff/core/users/core").exists()
    assert board.containers() == {"core": "exited no"}
    # And back again, as it was.
    board.config(CONFIG.format(1))
    assert board.apply() == 0
    assert board.containers() == {"core": "running always"}


def test_a_locked_user_is_out(board: Board) -> None:
    board.apply()
    board.config(CONFIG.format(1).replace("copyRootKeys: true", "copyRootKeys: true\n      locked: true"))
    assert board.apply() == 0
    assert "core" not in board.read("etc/passwd")
    assert not (board.root / "home/core/.ssh/authorized_keys").exists()
