"""Backups: what goes into one file comes back on another device, or nothing does."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from skiff_device.common.errors import DeviceError
from skiff_device.crew import backup_import, keys, release, repo, restore, store
from skiff_device.crew.backup_file import Writer
from skiff_device.crew.engine import Engine
from skiff_device.crew.paths import Paths
from tests.tool.crew_device import CrewDevice, remove_folder, short_folder

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0mBxXgAkT7hXNgJdQ3GkAkY4JbKkzB3j1m7Q3y9d5C"
GIT = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]


@pytest.fixture
def full(crew: CrewDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CrewDevice:
    """A device with an app that has everything, and a second one that was never deployed."""
    for name in ("GIT_DIR", "HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM"):
        monkeypatch.setenv(name, "/nowhere")
    made = crew.app("app")
    store.create(crew.paths, "empty")
    crew.engine.saved[made.tag] = os.urandom(64) * 100_000
    store.change_env(crew.paths, "app", lambda env: env.update(A="geheim\n", B="x"))
    store.change_env(crew.paths, None, lambda env: env.update(ALL="1"))
    mount = {"mounts": ["/mnt/persist/skiff/crew/storage/data:/data", "/mnt/persist/other:/o"]}
    store.change(crew.paths, "app", "storage", lambda section: section.update(mount))
    assert crew.run("network:create", "inner").status == 0
    assert crew.run("network:set", "--no-restart", "app", "attach-post-create", "inner").status == 0
    (crew.paths.storage / "data/sub").mkdir(parents=True)
    (crew.paths.storage / "data/sub/file").write_bytes(b"kept")
    (crew.paths.certs / "app").mkdir(parents=True)
    (crew.paths.certs / "app/server.crt").write_text("cert")
    keys.add(crew.paths, "anna", KEY, "deploy", ["app"])
    repo.use(crew.paths, "app")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "Dockerfile").write_text("FROM box\n")
    env = {"PATH": os.environ["PATH"], "GIT_DIR": os.environ["GIT_DIR"], "GIT_WORK_TREE": str(tree)}
    for words in (["add", "-A"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*GIT, *words], check=True, env=env)
    return crew


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Iterator[CrewDevice]:
    """Another device."""
    root = short_folder()
    made = CrewDevice(root, monkeypatch)
    yield made
    made.close()
    remove_folder(root)


def exported(crew: CrewDevice, *words: str) -> bytes:
    done = crew.run("backup:export", *words)
    assert done.status == 0, done.err
    return done.out


@pytest.fixture
def data(full: CrewDevice) -> bytes:
    """A backup of all of it. Taken before there is another device, whose command docker is on PATH then."""
    return exported(full, "--keys")


def tree(crew: CrewDevice) -> list[str]:
    """Every file that crew keeps, but logs."""
    return sorted(
        str(path.relative_to(crew.paths.crew))
        for path in crew.paths.crew.rglob("*")
        if path.name != "events.log" and path.is_file()
    )


def test_an_app_comes_back_on_another_device(full: CrewDevice, data: bytes, other: CrewDevice) -> None:
    assert other.run("apps:create", "before").status == 0
    done = other.run("backup:import", "--keys", "--global", stdin=data)
    assert done.status == 0, done.err
    assert store.apps(other.paths) == ["app", "before", "empty"]
    assert store.env(other.paths, "app") == {"A": "geheim\n", "B": "x"}
    assert store.env(other.paths, None) == {"ALL": "1"}
    assert store.whole(other.paths, "app") == store.whole(full.paths, "app")
    assert (other.paths.storage / "data/sub/file").read_bytes() == b"kept"
    assert (other.paths.storage / "data").stat().st_mode & 0o777 == 0o777
    assert (other.paths.certs / "app/server.crt").read_text() == "cert"
    assert keys.read(other.paths) == keys.read(full.paths)
    now = release.current(other.paths, "app")
    assert now is not None and other.engine.images[now.tag]["Id"] == now.image
    assert other.engine.saved["crew/app:1"] == full.engine.saved["crew/app:1"]
    container = other.engine.containers["app.worker.1-1"]
    assert container.running and container.env["A"] == "geheim\n" and container.argv == ["work"]
    assert container.networks == ["crew", "inner"] and "inner" in other.run("network:list").text
    # Nothing is left beside, and it can be built again.
    assert not list(other.paths.crew.glob("import.*")) and not list(other.paths.storage.glob(".import.*"))
    assert [name for name in other.engine.containers if "backup" in name] == []
    report = json.loads(other.run("git:report", "--json", "app").text)
    assert len(report["commit"]) == 40
    # A second time, it is all there already.
    before = tree(other)
    done = other.run("backup:import", stdin=data)
    assert done.status == 1 and "there is an app app already" in done.err
    assert tree(other) == before


@pytest.mark.parametrize("left", [b"ke", b"kept", bytes(1024)])
def test_a_folder_that_changes_while_it_is_copied_makes_no_backup(
    full: CrewDevice, monkeypatch: pytest.MonkeyPatch, left: bytes
) -> None:
    """As the engine's tar ends when a file becomes shorter between its head and its content."""
    read_tree = Engine.read_tree
    (full.paths.storage / "data/sub/file").write_bytes(b"kept" * 1024)

    def short(self: Engine, name: str, path: str) -> Iterator[bytes]:
        whole = b"".join(read_tree(self, name, path))
        yield whole[: whole.index(b"kept")] + left

    monkeypatch.setattr(Engine, "read_tree", short)
    done = full.run("backup:export")
    assert done.status == 1
    assert "storage/data changed or cannot be read" in done.err and "ps:stop app" in done.err


@pytest.mark.parametrize("name", ["Fotos alt", "Bücher", "a+b@c", ".hidden", "x" * 255])
def test_a_folder_of_any_name_comes_back(crew: CrewDevice, name: str) -> None:
    store.create(crew.paths, "app")
    folder = crew.paths.storage / name
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"kept")
    path = f"/mnt/persist/skiff/crew/storage/{name}"
    assert crew.run("storage:mount", "--no-restart", "app", f"{path}:/data").status == 0
    data = exported(crew)
    assert crew.run("apps:destroy", "--force", "app").status == 0
    remove_folder(folder)
    done = crew.run("backup:import", stdin=data)
    assert done.status == 0, done.err
    assert (folder / "file").read_bytes() == b"kept"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0", "\ud800", "x" * 256, ".import.1.0", 1])
def test_what_is_no_folder_of_storage(other: CrewDevice, name: object) -> None:
    out = io.BytesIO()
    Writer(out, {"apps": [], "storage": [name]}).close()
    done = other.run("backup:import", stdin=out.getvalue())
    assert done.status == 1 and "damaged: storage" in done.err


def test_only_the_apps_named_and_no_keys(full: CrewDevice, other: CrewDevice) -> None:
    data = exported(full, "empty")
    assert other.run("backup:import", "--keys", "--global", stdin=data).status == 0
    assert store.apps(other.paths) == ["empty"]
    assert keys.read(other.paths) == {} and store.env(other.paths, None) == {}


def test_no_image_of_another_cpu_is_taken(data: bytes, other: CrewDevice) -> None:
    other.engine.arch = "arm64"
    done = other.run("backup:import", stdin=data)
    assert done.status == 0 and "ps:rebuild app" in done.err
    assert release.current(other.paths, "app") is None and other.engine.saved == {}
    assert (other.paths.storage / "data/sub/file").read_bytes() == b"kept"


def repacked(data: bytes, change: Any) -> bytes:
    """A backup with its members changed: change(name, data) gives what comes instead."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as old, tarfile.open(fileobj=out, mode="w") as new:
        for info in old:
            file = old.extractfile(info)
            assert file is not None
            for name, content in change(info.name, file.read()):
                made = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
                made.size = len(content)
                new.addfile(made, io.BytesIO(content))
    return out.getvalue()


def link() -> tarfile.TarInfo:
    made = tarfile.TarInfo("apps/app/certs/x")
    made.type, made.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return made


def after(place: str, name: Any, content: bytes = b"x") -> Any:
    return lambda n, d: [(n, d), (name, content)] if n == place else [(n, d)]


def instead(place: str, content: bytes) -> Any:
    return lambda n, d: [(n, content if n == place else d)]


ENV = "apps/app/env.json"
HOSTILE = [
    after(ENV, "apps/app/certs/../../../x"), after(ENV, "/etc/passwd"), after(ENV, "apps/other/env.json"),
    after(ENV, link(), b""), after(ENV, "apps/app/certs/server.crt"),
    after(ENV, "apps/app/storage/../x/000001"),
    *(instead(ENV, text) for text in (b"{}", b"[]", b"{", b'{"A": 1}')),
    instead("apps/app/settings.json", b'{"ps": 1}'), instead("apps/app/release.json", b"{}"),
    instead("apps/app/release.json", b'{"processes": {}, "created": "", "reason": "\\ud800"}'),
    instead(ENV, b'{"A": "\\ud800"}'), instead("apps/app/settings.json", b'{"a": ' + b"[" * 100_000),
    instead("apps/app/image/000001", b"no image"), instead("apps/app/repo/000001", b"no bundle"),
    instead("backup.json", b'{"format": "other"}'),
    *(
        instead("backup.json", b'{"format": "skiff-crew-backup", %s}' % text)
        for text in (
            b'"version": 2', b'"version": 1, "apps": ["../x"], "storage": []',
            b'"version": 1, "apps": ["app"], "storage": [".."]',
        )
    ),
    lambda n, d: [] if n == ENV else [(n, d)], lambda n, d: [] if n == "end.json" else [(n, d)],
]  # fmt: skip


def test_a_damaged_or_hostile_backup_changes_nothing(data: bytes, other: CrewDevice) -> None:
    before = tree(other)
    bad = [repacked(data, change) for change in HOSTILE]
    bad += [b"", b"no backup", data[: len(data) // 2], data[:-11_000], data.replace(b"geheim", b"GEHEIM")]
    for number, one in enumerate(bad):
        done = other.run("backup:import", stdin=one)
        assert done.status == 1, number
        assert "Traceback" not in done.err and len(done.err.strip().splitlines()) < 9, (number, done.err)
        assert tree(other) == before, number
        assert other.engine.containers == {}, number
        assert not [name for name in other.engine.images if name.startswith("crew/app:")], number


def test_a_cleanup_takes_no_image_that_is_being_taken_in(
    data: bytes, other: CrewDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    (other.paths.root / f"proc/{os.getpid()}").mkdir(parents=True)
    commit = backup_import.Import.commit

    def late(self: backup_import.Import, with_keys: bool, with_global: bool) -> None:
        assert other.run("cleanup").status == 0
        commit(self, with_keys, with_global)

    monkeypatch.setattr(backup_import.Import, "commit", late)
    done = other.run("backup:import", stdin=data)
    assert done.status == 0, done.err
    now = release.current(other.paths, "app")
    assert now is not None and other.engine.images[now.tag]["Id"] == now.image
    assert other.engine.containers["app.worker.1-1"].running
    # It has no other name any more.
    assert [name for name in other.engine.images if name.startswith("crew/app:")] == [now.tag]


def test_an_import_says_so_when_an_app_does_not_start(
    data: bytes, other: CrewDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_up = restore.bring_up

    def refused(paths: Paths, apps: list[str], say: Callable[[str], None]) -> list[str]:
        other.engine.refuse = "no such device"
        return bring_up(paths, apps, say)

    monkeypatch.setattr(restore, "bring_up", refused)
    done = other.run("backup:import", stdin=data)
    assert done.status == 1 and "app does not run: " in done.err and "2 apps are back" in done.text
    assert store.apps(other.paths) == ["app", "empty"]


def test_an_app_that_was_taken_in_keeps_its_image_when_the_next_one_is_not(
    data: bytes, other: CrewDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = backup_import.Import._place

    def fails(self: backup_import.Import, app: str) -> None:
        if app == "empty":
            raise DeviceError("the disk is full")
        place(self, app)

    monkeypatch.setattr(backup_import.Import, "_place", fails)
    assert other.run("backup:import", stdin=data).status == 1
    assert store.apps(other.paths) == ["app"]
    now = release.current(other.paths, "app")
    assert now is not None and other.engine.images[now.tag]["Id"] == now.image


def test_a_power_cut_leaves_an_app_whole_or_not_there(
    data: bytes, other: CrewDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut at every rename of the import; then the boot."""

    class Cut(BaseException):
        pass

    rename = Path.rename
    monkeypatch.setattr(backup_import.Import, "tidy", lambda self: None)
    for place in range(20):
        left = place

        def cut(self: Path, target: Any) -> Path:
            nonlocal left
            if left == 0:
                raise Cut
            left -= 1
            return rename(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", cut)
            try:
                other.run("backup:import", stdin=data)
                break
            except Cut:
                pass
        # As the service crew does, as root, before it.
        for path in other.paths.storage.glob(".import.*"):
            remove_folder(path)
        restore.restore(other.paths)
        assert not list(other.paths.crew.glob("import.*"))
        if "app" in store.apps(other.paths):
            assert other.engine.containers["app.worker.1-1"].running
            assert (other.paths.storage / "data/sub/file").exists()
            assert (other.paths.certs / "app/server.crt").exists()
            assert other.run("apps:destroy", "--force", "app").status == 0
        if "empty" in store.apps(other.paths):
            assert other.run("apps:destroy", "--force", "empty").status == 0
        remove_folder(other.paths.storage)
        remove_folder(other.paths.certs)
    assert place >= 3
