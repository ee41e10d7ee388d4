"""Takes a backup in: everything is put beside first, and an app is there when its folder gets its name.

So a power cut leaves every app as it was or whole; what was put beside goes at the next boot.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from skiff_device.common import run
from skiff_device.common.errors import DeviceError
from skiff_device.common.files import write_atomically
from skiff_device.crew import backup, containers, deploy, keys, names, repo, store, sync
from skiff_device.crew import release as releases
from skiff_device.crew.backup_file import Reader
from skiff_device.crew.engine import Engine
from skiff_device.crew.paths import Paths

Say = Callable[[str], None]
# Of a file with a certificate.
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_NUMBER = 1
# How folders of storage begin that are put beside, and go at the next boot.
_BESIDE = ".import."
# Of a file, in bytes (NAME_MAX).
_LONGEST = 255


class Import:
    """One import. Nothing counts before `commit`."""

    def __init__(self, paths: Paths, stream: BinaryIO, say: Say) -> None:
        self.paths = paths
        self._say = say
        self._engine = Engine(paths)
        self._folder = paths.crew / f"import.{os.getpid()}"
        # The same tree as crew's own, in a folder that nobody looks at.
        self._stage = Paths(paths.root)
        self._stage.apps = self._folder / "apps"
        self._stage.certs = self._folder / "certs"
        self._stage.settings = self._folder / "settings.json"
        self._stage.env = self._folder / "env.json"
        self._reader = Reader(stream)
        self.apps = [names.app(str(app)) for app in self._listed("apps")]
        self._storage = self._listed("storage")
        self._keys: dict[str, Any] = {}
        self._tags: list[str] = []

    def _listed(self, name: str) -> list[str]:
        found = self._reader.about.get(name)
        if not isinstance(found, list) or not all(isinstance(one, str) and _is_folder(one) for one in found):
            raise DeviceError(f"the backup is damaged: {name}", "take another one")
        return found

    def _beside(self, folder: str) -> Path:
        """Where a folder of storage is put beside. Its own name may be as long as names can be."""
        return self.paths.storage / f"{_BESIDE}{os.getpid()}.{self._storage.index(folder)}"

    def check_free(self) -> None:
        """Raise DeviceError when something of it is there already."""
        for app in self.apps:
            if store.exists(self.paths, app):
                raise DeviceError(f"there is an app {app} already", "apps:rename or apps:destroy it first")
        for folder in self._storage:
            if (self.paths.storage / folder).exists():
                raise DeviceError(f"there is a folder storage/{folder} already", "move it away first")

    def stage(self) -> None:
        """Read all of it, and put it beside. Raises DeviceError."""
        (self._folder / "apps").mkdir(mode=0o700, parents=True)
        reader = self._reader
        if reader.peek() == "global/settings.json":
            _put(self._stage.settings, backup.check_settings(reader.json("global/settings.json")))
            _put(self._stage.env, backup.check_variables(reader.json("global/env.json")))
        if reader.peek() == "keys.json":
            self._keys = reader.json("keys.json")
        for app in self.apps:
            self._say(f"-----> {app}")
            self._app(app)
        reader.verify()

    def _app(self, app: str) -> None:
        reader, stage = self._reader, self._stage
        (stage.app(app) / "releases").mkdir(parents=True)
        _put(
            stage.app(app) / "settings.json", backup.check_settings(reader.json(f"apps/{app}/settings.json"))
        )
        _put(stage.app(app) / "env.json", backup.check_variables(reader.json(f"apps/{app}/env.json")))
        while (name := reader.peek()).startswith(prefix := f"apps/{app}/certs/"):
            if not _FILE.fullmatch(name.removeprefix(prefix)):
                raise DeviceError(f"the backup is damaged: {names.shown(name)}", "take another one")
            (stage.certs / app).mkdir(mode=0o700, parents=True, exist_ok=True)
            (stage.certs / app / name.removeprefix(prefix)).write_bytes(reader.take(name))
        self._repository(app)
        if reader.peek() == f"apps/{app}/release.json":
            self._release(app)
        self._folders(app)

    def _repository(self, app: str) -> None:
        bundle = self._folder / "bundle"
        with bundle.open("wb") as file:
            for data in sync.room_for(self._reader.pieces(f"apps/{app}/repo"), self.paths.crew):
                file.write(data)
        if bundle.stat().st_size:
            repo.use(self._stage, app)
            words = ["git", "fetch", "--quiet", "--no-write-fetch-head", "--", str(bundle)]
            done = run.capture([*words, "+refs/heads/*:refs/heads/*"])
            if done.status:
                raise DeviceError(f"the repository of {app} is damaged: {done.err.strip()[-200:]}")
            repo.point_head(repo.branch(self._stage, app))
        bundle.unlink()

    def _release(self, app: str) -> None:
        """The image goes to the engine at once, by a name that cleanup lets alone while this goes on."""
        release = backup.check_release(self._reader.json(f"apps/{app}/release.json"), _NUMBER)
        pieces = sync.room_for(self._reader.pieces(f"apps/{app}/image"), self.paths.crew)
        arch = str(self._reader.about.get("arch", ""))
        if arch != backup.architecture(self._engine):
            for _ in pieces:
                pass
            self._say(f"       its image is for {names.shown(arch)}: build it again with ps:rebuild {app}")
            return
        image = self._load(app, pieces)
        releases.save(self._stage, app, release._replace(image=image, tag=f"crew/{app}:{_NUMBER}"))

    def _load(self, app: str, pieces: Any) -> str:
        said = self._engine.load(pieces)
        match = re.search(rf"crew/{app}:\d+", said)
        found = self._engine.image(match[0]) if match else None
        if match is None or found is None:
            raise DeviceError(f"the backup has no image of {app}", "take another one")
        image, held = str(found["Id"]), f"crew/{app}:build-{os.getpid()}"
        self._tags += [match[0], held]
        self._engine.tag(image, held)
        return image

    def _folders(self, app: str) -> None:
        """Folders of storage are written by the engine, which may give files to anybody."""
        while (name := self._reader.peek()).startswith(prefix := f"apps/{app}/storage/"):
            folder = name.removeprefix(prefix).partition("/")[0]
            if folder not in self._storage:
                raise DeviceError(f"the backup is damaged: {names.shown(name)}", "take another one")
            pieces = sync.room_for(self._reader.pieces(f"{prefix}{folder}"), self.paths.crew)
            beside = self._beside(folder)
            beside.mkdir(parents=True)
            # As `mounts` makes them: docker leaves the folder itself as it is.
            beside.chmod(0o777)
            with backup.mounted(self.paths, self._engine, app, beside.name) as container:
                self._engine.write_tree(container, backup.MOUNT, pieces)

    def commit(self, with_keys: bool, with_global: bool) -> None:
        """From here on it counts, one app after the other."""
        for folder in self._storage:
            beside = self._beside(folder)
            if beside.exists():
                beside.rename(self.paths.storage / folder)
        if with_global and self._stage.settings.exists():
            self._stage.settings.replace(self.paths.settings)
            self._stage.env.replace(self.paths.env)
        if with_keys:
            _add_keys(self.paths, self._keys, self._say)
        network = containers.ensure_network(self._engine) if self._tags else None
        for app in self.apps:
            release = releases.load(self._stage, app, _NUMBER)
            with store.alone(self.paths, "addresses"):
                if release is not None and network is not None:
                    scale = deploy.scale_of(self._stage, app, release)
                    made = containers.lay_out(self.paths, app, _NUMBER, scale, network)
                    releases.save(self._stage, app, release._replace(containers=made))
                    releases.point_at(self._stage, app, _NUMBER)
                    self._tags.append(release.tag)
                    self._engine.tag(release.image, release.tag)
                self._place(app)
            # Whatever becomes of the others, this app's image is in use.
            self._tags = [tag for tag in self._tags if tag != f"crew/{app}:{_NUMBER}"]

    def _place(self, app: str) -> None:
        if (self._stage.certs / app).exists():
            self.paths.certs.mkdir(mode=0o700, exist_ok=True)
            shutil.rmtree(self.paths.certs / app, ignore_errors=True)
            (self._stage.certs / app).rename(self.paths.certs / app)
        os.sync()
        # What is left of an app that was destroyed is no app.
        shutil.rmtree(self.paths.app(app), ignore_errors=True)
        self.paths.apps.mkdir(exist_ok=True)
        self._stage.app(app).rename(self.paths.app(app))
        store.sync_folder(self.paths.apps)

    def tidy(self) -> None:
        """Remove what was put beside and is not of use."""
        shutil.rmtree(self._folder, ignore_errors=True)
        for folder in self.paths.storage.glob(f"{_BESIDE}{os.getpid()}.*"):
            shutil.rmtree(folder, ignore_errors=True)
        for tag in self._tags:
            self._engine.untag(tag)


def take(
    paths: Paths, stream: BinaryIO, with_keys: bool, with_global: bool, say: Say
) -> tuple[list[str], list[str]]:
    """Take a backup in and start its apps; their names, and those that do not run.

    Raises DeviceError: nothing has changed then; of a disk that fails at the very end some apps are there.
    """
    from skiff_device.crew import restore

    wanted = Import(paths, stream, say)
    wanted.check_free()
    try:
        wanted.stage()
        # It may have taken long to read.
        wanted.check_free()
        wanted.commit(with_keys, with_global)
    finally:
        wanted.tidy()
    return wanted.apps, restore.bring_up(paths, wanted.apps, say)


def _is_folder(name: str) -> bool:
    """Whether a name can be of a folder of storage: of whatever storage:mount takes, but one folder."""
    return (
        name not in ("", ".", "..")
        and "/" not in name
        and name.isprintable()
        and len(name.encode()) <= _LONGEST
        and not name.startswith(_BESIDE)
    )


def _put(path: Path, value: dict[str, Any]) -> None:
    write_atomically(path, store.as_json(value), 0o600)


def _add_keys(paths: Paths, found: dict[str, Any], say: Say) -> None:
    for name, one in found.items():
        try:
            keys.add(
                paths, name, str(one["key"]), str(one["role"]), [names.app(a) for a in one.get("apps", [])]
            )
        except (KeyError, TypeError, AttributeError):
            say(f"key {names.shown(name)} is damaged, and left out")
        except DeviceError as error:
            say(f"key {names.shown(name)} is left out: {error.message}")
