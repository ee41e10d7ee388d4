"""Settings on persist as an archive and back, and what an archive must not do."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from skiff.host.errors import UserError
from skiff.machine.settings import backup, restore
from tests.tool.device import Device
from tests.tool.test_push import FakeDevice

FILES = {"hostname": "attic\n", "wifi/home.conf": "password=secret\n", "core/config.yaml": "users: {}\n"}
PERSIST = "mnt/persist/skiff"


def settings(device: Device, word: str, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [device.busybox, "sh", device.root / "usr/bin/skiff-settings", word],
        env={**os.environ, "SKIFF_ROOT": str(device.root)},
        input=input,
        capture_output=True,
        timeout=30,
        check=False,
    )


def archive(**files: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


@pytest.fixture
def told(device: Device) -> Device:
    for name, text in FILES.items():
        device.put(f"{PERSIST}/{name}", text)
    device.put(f"{PERSIST}/docker/image", "large")
    device.put(f"{PERSIST}/core/env/tree", "large")
    return device


def test_there_and_back(told: Device) -> None:
    saved = settings(told, "backup").stdout
    with tarfile.open(fileobj=io.BytesIO(saved)) as tar:
        assert {entry.name for entry in tar if entry.isfile()} == set(FILES)
    told.put(f"{PERSIST}/hostname", "cellar\n")
    told.put(f"{PERSIST}/wifi/other.conf", "later")
    told.put(f"{PERSIST}/keys/me.pub", "a key")
    done = settings(told, "restore", saved)
    assert (done.returncode, done.stderr) == (0, b"")
    assert told.read(f"{PERSIST}/hostname") == "attic\n"
    assert not (told.root / PERSIST / "wifi/other.conf").exists()
    # What the archive does not hold stays.
    assert told.read(f"{PERSIST}/keys/me.pub") == "a key"
    assert told.read(f"{PERSIST}/core/env/tree") == "large"
    assert not (told.root / "mnt/persist/skiff.restore").exists()


def test_a_restore_that_a_cut_ended_is_finished_at_the_next_start(told: Device) -> None:
    # The power goes when the first setting is out of its place, and the other not in it.
    script = told.root / "usr/bin/skiff-settings"
    whole = script.read_text()
    script.write_text(whole.replace('! mv "$path"', "! kill -9 $$"))
    assert settings(told, "restore", archive(hostname="attic", **{"wifi/new.conf": "x"})).returncode == -9
    script.write_text(whole)
    assert not (told.root / PERSIST / "hostname").exists()
    assert settings(told, "finish").returncode == 0
    assert told.read(f"{PERSIST}/hostname") == "attic"
    assert [path.name for path in (told.root / PERSIST / "wifi").iterdir()] == ["new.conf"]
    assert not (told.root / "mnt/persist/skiff.restored").exists()
    # With nothing to finish it changes nothing.
    assert settings(told, "finish").returncode == 0
    assert told.read(f"{PERSIST}/hostname") == "attic"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"no archive", "no archive"),
        (archive(hostname="x", passwd="y"), "passwd is no setting"),
        (archive(**{"core/env": "y"}), "core/env is no setting"),
    ],
)
def test_what_is_no_backup(told: Device, data: bytes, says: str) -> None:
    done = settings(told, "restore", data)
    assert done.returncode == 1 and says in done.stderr.decode()
    assert told.read(f"{PERSIST}/hostname") == "attic\n"
    assert not (told.root / "mnt/persist/skiff.restore").exists()


def packed(tool: str, folder: Path) -> bytes:
    """An archive of two settings, as a tool writes it."""
    if tool == "python":
        return archive(**{"keys/a.pub": "a", "keys/b.pub": "b"})
    for name in "ab":
        (folder / "keys").mkdir(exist_ok=True)
        (folder / f"keys/{name}.pub").write_text(name)
    words = [*tool.split(), "-C", str(folder), "-cf", "-", "keys/a.pub", "keys/b.pub"]
    return subprocess.run(words, check=True, capture_output=True).stdout


@pytest.mark.parametrize("tool", ["busybox tar", "tar", "python"])
def test_an_archive_that_breaks_off_changes_nothing(told: Device, tmp_path: Path, tool: str) -> None:
    told.put(f"{PERSIST}/keys/old.pub", "old")
    whole = packed(tool, tmp_path)
    # Each file is a sector with its name, and one with its text. Zeros follow.
    assert whole[2048:].strip(b"\0") == b"" and len(whole) >= 3072
    for end in (0, 512, 700, 1024, 1536, 2048, 2560):
        done = settings(told, "restore", whole[:end])
        assert (done.returncode, done.stdout) == (1, b""), end
        assert told.read(f"{PERSIST}/keys/old.pub") == "old"
        assert not (told.root / "mnt/persist/skiff.restore").exists()
    assert b"breaks off" in settings(told, "restore", whole[:1024]).stderr
    assert settings(told, "restore", whole).returncode == 0
    assert {path.name for path in (told.root / PERSIST / "keys").iterdir()} == {"a.pub", "b.pub"}


def test_a_reset_is_for_the_next_start(told: Device) -> None:
    assert settings(told, "reset").returncode == 0
    assert told.read(f"{PERSIST}/hostname") == "attic\n"
    text = told.read("usr/lib/skiff/persist")
    function = text[text.index("reset_if_asked() {") : text.index("# What the contract promises")]
    told.says(f"{function}sync() {{ :; }}\nreset_if_asked\nwait")
    assert list((told.root / "mnt/persist").iterdir()) == []


def test_files_on_the_workstation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeDevice(tmp_path / "device", monkeypatch)
    (fake.root / "has").write_bytes(archive(hostname="attic"))
    fake.program(
        "skiff-settings", 'case $1 in backup) cat "$ROOT/has" ;; restore) cat >"$ROOT/taken" ;; esac'
    )
    target = tmp_path / "attic.tar"
    assert backup(fake.remote, target) == target.stat().st_size
    assert target.stat().st_mode & 0o777 == 0o600
    restore(fake.remote, target)
    assert (fake.root / "taken").read_bytes() == target.read_bytes()
    (fake.root / "has").write_bytes(b"")
    with pytest.raises(UserError, match="no archive of settings"):
        backup(fake.remote, target)
    assert target.read_bytes() == (fake.root / "taken").read_bytes()
