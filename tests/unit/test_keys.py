"""Which SSH keys go into an image, and what is said when none would."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from skiff.__main__ import main
from skiff.cli.common import resolve_recipe
from skiff.cli.options import Choice
from skiff.host.errors import UserError
from skiff.host.ui import Ui
from skiff.host.workspace import load_config, open_workspace

USER = "ssh-ed25519 AAAAUSER user@host"
OTHER = "ssh-rsa AAAAOTHER other@host"

Capture = pytest.CaptureFixture[str]


def choice(**more: object) -> Choice:
    return Choice(layers=("virt/qemu",), **more)  # type: ignore[arg-type]


@pytest.fixture
def home(project: Path) -> Path:
    folder = Path.home() / ".ssh"
    folder.mkdir()
    (folder / "id_ed25519.pub").write_text(f"{USER}\n")
    return folder


def test_user_and_workspace_key_go_in_with_a_notice(home: Path, capsys: Capture) -> None:
    workspace = open_workspace()
    recipe = resolve_recipe(choice(), workspace, Ui())
    user, own = recipe.authorized_keys
    assert user == USER
    assert own.startswith("ssh-ed25519 ") and own.endswith("skiff workspace default")
    assert workspace.private_key.stat().st_mode & 0o777 == 0o600
    assert capsys.readouterr().err == (
        "SSH keys that may log in as root: ~/.ssh/id_ed25519.pub, the workspace's own key (for `skiff ssh`)\n"
    )
    assert resolve_recipe(choice(), workspace, Ui()).authorized_keys == (user, own)


def test_a_certificate_is_no_key(home: Path) -> None:
    (home / "id_ed25519-cert.pub").write_text("ssh-ed25519-cert-v01@openssh.com AAAACERT user@host\n")
    user, _ = resolve_recipe(choice(), open_workspace(), Ui()).authorized_keys
    assert user == USER


def test_user_without_keys_gets_one(project: Path) -> None:
    (own,) = resolve_recipe(choice(), open_workspace(), Ui()).authorized_keys
    assert own.endswith("skiff workspace default")


def test_named_file_and_no_others(home: Path, project: Path) -> None:
    file = project / "other.pub"
    file.write_text(f"{OTHER}\n")
    wish = choice(ssh_keys=(file,), user_keys=False, workspace_key=False)
    assert resolve_recipe(wish, open_workspace(), Ui()).authorized_keys == (OTHER,)
    assert not open_workspace().keys.exists()
    # Remembered with the workspace.
    assert resolve_recipe(Choice(), open_workspace(), Ui()).authorized_keys == (OTHER,)


def test_one_key_from_two_files_goes_in_once(home: Path, project: Path) -> None:
    file = project / "again.pub"
    file.write_text(f"{USER} with another comment\n")
    wish = choice(ssh_keys=(file,), workspace_key=False)
    assert resolve_recipe(wish, open_workspace(), Ui()).authorized_keys == (USER,)


def test_unreachable_image_is_refused_and_nothing_saved(project: Path) -> None:
    with pytest.raises(UserError, match="no SSH key would go into this image") as caught:
        resolve_recipe(choice(user_keys=False, workspace_key=False), open_workspace(), Ui())
    assert "--allow-unreachable" in caught.value.hint
    assert load_config(open_workspace()) is None
    assert list(project.iterdir()) == []


def test_unreachable_image_on_purpose(project: Path, capsys: Capture) -> None:
    wish = choice(user_keys=False, workspace_key=False, allow_unreachable=True)
    assert resolve_recipe(wish, open_workspace(), Ui(quiet=True)).authorized_keys == ()
    assert "nobody will be able to log in" in capsys.readouterr().err


@pytest.fixture
def in_layer(project: Path) -> Path:
    """Where a layer of the user's brings its keys along."""
    folder = project / "overrides/rootfs/etc/skiff/authorized_keys"
    folder.mkdir(parents=True)
    return folder


def test_key_in_a_layer_is_enough(in_layer: Path, capsys: Capture) -> None:
    (in_layer / "admin.pub").write_text(f"{OTHER}\n")
    wish = choice(user_keys=False, workspace_key=False)
    assert resolve_recipe(wish, open_workspace(), Ui()).authorized_keys == ()
    assert "admin.pub" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "hello\n", "-----BEGIN OPENSSH PRIVATE KEY-----\n"])
def test_file_that_is_no_public_key(project: Path, text: str) -> None:
    file = project / "key"
    file.write_text(text)
    with pytest.raises(UserError, match=re.escape(str(file))):
        resolve_recipe(choice(ssh_keys=(file,)), open_workspace(), Ui())
    assert not open_workspace().root.exists()


def test_missing_key_file(project: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.pub"):
        resolve_recipe(choice(ssh_keys=(project / "gone.pub",)), open_workspace(), Ui())


def test_a_missing_key_file_is_not_remembered(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["configure", "virt/qemu", "--ssh-key", "gone.pub"]) == 2
    said = capsys.readouterr().err
    assert f"{project / 'gone.pub'}: cannot be read: No such file or directory\nhint: " in said
    assert load_config(open_workspace()) is None


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (f"# mine\n{USER}\n\n{OTHER}\n", True),
        (f'from="10.0.0.0/8" {USER}\n', True),
        ("", False),
        (f"{USER}\nnot a key\n", False),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n", False),
    ],
)
def test_what_a_layer_calls_keys_are_public_keys(text: str, good: bool, in_layer: Path) -> None:
    (in_layer / "me.pub").write_text(text)
    assert main(["show", "virt/qemu"]) == (0 if good else 2)


@pytest.mark.parametrize("kind", ["link", "dangling", "folder", "in a folder that is a link"])
def test_a_key_of_a_layer_is_a_file_in_it(kind: str, in_layer: Path, project: Path, capsys: Capture) -> None:
    elsewhere = project / "keys"
    elsewhere.mkdir()
    (elsewhere / "me.pub").write_text(f"{OTHER}\n")
    if kind == "folder":
        (in_layer / "me.pub").mkdir()
    elif kind == "in a folder that is a link":
        in_layer.rmdir()
        in_layer.symlink_to(elsewhere)
    else:
        (in_layer / "me.pub").symlink_to(elsewhere / ("me.pub" if kind == "link" else "gone.pub"))
    assert main(["configure", "virt/qemu", "--no-user-keys", "--no-workspace-key"]) == 2
    assert "authorized_keys/me.pub: not a plain file" in capsys.readouterr().err


def test_a_layer_takes_no_place_of_the_keys_of_the_build(in_layer: Path, capsys: Capture) -> None:
    (in_layer / "build.pub").write_text(f"{OTHER}\n")
    assert main(["configure", "virt/qemu"]) == 2
    assert "build.pub: it would take the place of the keys" in capsys.readouterr().err
