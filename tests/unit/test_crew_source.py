"""What crew reads of a source tree that comes from outside."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from skiff_device.common.errors import DeviceError
from skiff_device.crew import build, source
from skiff_device.crew.containers import command_words
from skiff_device.crew.engine import Engine
from skiff_device.crew.paths import Paths
from skiff_device.crew.receive import app_of, wanted_commit

COMMIT = "0123456789" * 4


def tree(path: Path, *members: tuple[str, bytes | str]) -> Path:
    """A tar; a str is the target of a symbolic link."""
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


def test_small_files_are_plain_ones_at_the_top(tmp_path: Path) -> None:
    tar = tree(
        tmp_path / "x.tar",
        ("Dockerfile", b"FROM x\n"),
        ("sub/Procfile", b"web: a\n"),
        ("Procfile", "/etc/passwd"),
        ("CHECKS", b"x" * (300 << 10)),
    )
    assert source.small_files(tar, ("Dockerfile", "Procfile", "CHECKS")) == {"Dockerfile": "FROM x\n"}


@pytest.mark.parametrize("data", [b"", b"x" * 600, b"\0" * 100])
def test_no_tar_is_told_or_empty(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(data)
    try:
        assert source.small_files(tmp_path / "x.tar", ("Dockerfile",)) == {}
    except DeviceError as error:
        assert "source tree" in error.message


def test_a_procfile_names_processes() -> None:
    found = source.procfile(
        "# all\nweb: ./serve --port $PORT\nworker:  python3 work.py 'a b'\nrelease: migrate\n"
    )
    assert found == {
        "web": ["/bin/sh", "-c", "./serve --port $PORT"],
        "worker": ["python3", "work.py", "a b"],
    }
    assert source.procfile("") is None


@pytest.mark.parametrize("text", ["web", "web:", ": x", "../x: y", "WEB: y", "-x: y", "web: a\0b"])
def test_a_bad_procfile_is_refused(text: str) -> None:
    with pytest.raises(DeviceError):
        source.procfile(text)


def test_app_json_names_line_and_column() -> None:
    with pytest.raises(DeviceError, match=r"app\.json:2:"):
        source.app_json('{\n "a": }')
    with pytest.raises(DeviceError, match="expected an object"):
        source.app_json("[]")
    for beyond in ("[" * 100_000, "1" * 5000, '"\\ud800"'):
        with pytest.raises(DeviceError, match="beyond all bounds"):
            source.app_json(f'{{"a": {beyond}}}')


class Bare(Engine):
    """An engine without images."""

    def image(self, reference: str) -> None:
        return None


def test_a_reader_of_dockerfiles_with_any_name_is_left_out(tmp_path: Path) -> None:
    path = tree(tmp_path / "x.tar", ("Dockerfile", b"# syntax=\xff\x1b\nFROM box\n"))
    said: list[str] = []
    with path.open("r+b") as context:
        text = build._dockerfile(Bare(Paths(tmp_path)), context, "Dockerfile", said.append)
    assert text.split("\n")[1] == "FROM box" and "syntax" not in text
    assert len(said) == 1 and said[0].isprintable()


def test_only_build_arguments_are_build_options() -> None:
    assert source.build_argument(["--build-arg", "A=b c"]) == {"A": "b c"}
    assert source.build_argument(["--build-arg=A=b"]) == {"A": "b"}
    with pytest.raises(DeviceError):
        source.build_argument(["--network", "host"])


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("run a b", ["run", "a", "b"]),
        ("A=b run", ["/bin/sh", "-c", "A=b run"]),
        ("a && b", ["/bin/sh", "-c", "a && b"]),
        ("a 'open", ["/bin/sh", "-c", "a 'open"]),
    ],
)
def test_a_shell_only_where_it_is_needed(command: str, words: list[str]) -> None:
    assert command_words(command) == words


@pytest.mark.parametrize("path", ["'app'", "'/app'", "'~/app.git'", "app", "'app/'"])
def test_an_app_whatever_way_it_is_written(path: str) -> None:
    assert app_of(f"git-receive-pack {path}") == "app"


@pytest.mark.parametrize(
    "path",
    ["'../app'", "'a/b'", "''", "'$(id)'", "'a' 'b'", "'a", "'-x'", "'A'", "'a\nb'", "'" + "a" * 99 + "'"],
)
def test_what_is_no_app_is_refused(path: str) -> None:
    with pytest.raises(DeviceError):
        app_of(f"git-receive-pack {path}")


def test_one_branch_is_deployed() -> None:
    zero = "0" * 40
    assert wanted_commit([[zero, COMMIT, "refs/heads/main"]], ["main", "master"]) == COMMIT
    assert wanted_commit([[zero, COMMIT, "refs/heads/master"]], ["main", "master"]) == COMMIT
    for updates in (
        [],
        [[zero, COMMIT, "refs/heads/other"]],
        [[zero, COMMIT, "refs/tags/main"]],
        [[COMMIT, zero, "refs/heads/main"]],
        [[zero, COMMIT, "refs/heads/main"], [zero, COMMIT, "refs/heads/other"]],
        [[zero, "../../x", "refs/heads/main"]],
    ):
        with pytest.raises(DeviceError):
            wanted_commit(updates, ["main", "master"])
