"""What crew remembers: one folder an app, files a person can read, each written whole or not at all.

apps/NAME/settings.json   sections, each owned by one command family
apps/NAME/env.json        variables; for crew alone (0600)
apps/NAME/repo.git        what was pushed
apps/NAME/releases/N/     release.json: image, commit, containers
apps/NAME/current         symlink to releases/N: the release that serves; changing it is the switch
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from skiff_device.common import run
from skiff_device.common.errors import DeviceError
from skiff_device.common.files import write_atomically
from skiff_device.crew import names
from skiff_device.crew.paths import Paths

Section = dict[str, Any]


def apps(paths: Paths) -> list[str]:
    """Names of all apps, sorted."""
    if not paths.apps.is_dir():
        return []
    return sorted(path.name for path in paths.apps.iterdir() if (path / "settings.json").is_file())


def exists(paths: Paths, app: str) -> bool:
    """Whether there is an app of that (checked) name."""
    return (paths.app(app) / "settings.json").is_file()


def must_exist(paths: Paths, text: str) -> str:
    """Name of an app that is there. Raises DeviceError."""
    app = names.app(text)
    if not exists(paths, app):
        raise DeviceError(f"there is no app {app}", "apps:list shows all")
    return app


def create(paths: Paths, app: str) -> None:
    """Make an app with nothing in it. Raises DeviceError when there is one."""
    if exists(paths, app):
        raise DeviceError(f"there is an app {app} already", "choose another name")
    if not paths.persist_flag.exists():
        raise DeviceError("persist is not there to keep an app on", "root sees why: skiff-status persist")
    (paths.app(app) / "releases").mkdir(parents=True, exist_ok=True)
    # Its being there makes the app.
    _write(paths.app(app) / "settings.json", {})


def destroy(paths: Paths, app: str) -> None:
    """Remove all that is kept of an app; its containers must be gone."""
    # Without this file there is no app, whatever of the folder a power cut leaves.
    (paths.app(app) / "settings.json").unlink(missing_ok=True)
    shutil.rmtree(paths.app(app), ignore_errors=True)


def section(paths: Paths, app: str | None, name: str) -> Section:
    """One section of an app's settings (None: of those of all apps); empty when nothing was set."""
    found = _read(_settings(paths, app)).get(name, {})
    return found if isinstance(found, dict) else {}


def sections(paths: Paths, name: str) -> dict[str, Section]:
    """That section of every app, without apps whose settings are damaged: none is in another's way."""
    found = {}
    for app in apps(paths):
        with suppress(DeviceError):
            found[app] = section(paths, app, name)
    return found


def whole(paths: Paths, app: str | None) -> dict[str, Any]:
    """All sections of an app's settings (None: of those of all apps)."""
    return _read(_settings(paths, app))


def change(paths: Paths, app: str | None, name: str, change: Callable[[Section], None]) -> Section:
    """Change one section under a lock, and return it; nothing is written when ``change`` raises."""
    path = _settings(paths, app)
    with alone(paths, f"settings-{app or ''}"):
        whole = _read(path)
        part = whole.get(name)
        part = dict(part) if isinstance(part, dict) else {}
        change(part)
        whole[name] = part
        if not part:
            del whole[name]
        _write(path, whole)
    return part


def forget_damaged(paths: Paths, app: str) -> None:
    """Empty the settings and variables of an app that cannot be read, so that it can be destroyed."""
    for path in (_settings(paths, app), _env(paths, app)):
        try:
            _read(path)
        except DeviceError:
            _write(path, {})


def env(paths: Paths, app: str | None) -> dict[str, str]:
    """Variables of an app (None: those of all apps)."""
    return {str(key): str(value) for key, value in _read(_env(paths, app)).items()}


def change_env(paths: Paths, app: str | None, change: Callable[[dict[str, str]], None]) -> dict[str, str]:
    """Change variables under a lock, and return them all."""
    with alone(paths, f"env-{app or ''}"):
        variables = env(paths, app)
        change(variables)
        _write(_env(paths, app), variables, mode=0o600)
    return variables


@contextmanager
def alone(paths: Paths, name: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock by name; ``waiting`` is called once when another process holds it."""
    file = hold(paths, name, waiting)
    try:
        yield
    finally:
        os.close(file)


def hold(paths: Paths, name: str, waiting: Callable[[], None] | None = None) -> int:
    """Take a lock by name, in RAM; it lasts as long as the file that is returned is open somewhere."""
    paths.locks.mkdir(parents=True, exist_ok=True)
    # No file is ever removed from there: who waits for it would hold another one.
    file = os.open(paths.locks / (name or "all"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is not None:
                waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
    except BaseException:
        os.close(file)
        raise
    return file


def sync_folder(path: Path) -> None:
    """Make names in a folder last over a power cut."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def sync_disk(paths: Paths) -> None:
    """Wait until all that was written to persist, by the engine too, outlives a power cut."""
    # Other disks have nothing to do with it; sync(1) of busybox and of coreutils know how to leave them out.
    if run.capture(["sync", "-f", str(paths.crew)]).status:
        os.sync()


def _settings(paths: Paths, app: str | None) -> Path:
    return paths.settings if app is None else paths.app(app) / "settings.json"


def _env(paths: Paths, app: str | None) -> Path:
    return paths.env if app is None else paths.app(app) / "env.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DeviceError(f"{path} cannot be read: {error}", "put it right, or restore a backup") from None
    if not isinstance(found, dict):
        raise DeviceError(f"{path}: expected an object", "put it right, or restore a backup")
    return found


def as_json(content: Any, sort: bool = True) -> str:
    """JSON that a person can read; a byte that is no UTF-8 is an escape, `\\udc80` to `\\udcff`."""
    text = json.dumps(content, indent=1, sort_keys=sort, ensure_ascii=False)
    return text.encode(errors="backslashreplace").decode() + "\n"


def _write(path: Path, content: dict[str, Any], mode: int = 0o600) -> None:
    write_atomically(path, as_json(content), mode)
    sync_folder(path.parent)
