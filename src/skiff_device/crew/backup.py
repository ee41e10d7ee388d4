"""Backups of apps: settings, variables, repository, the serving image, storage folders and certificates."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from skiff_device.common import run
from skiff_device.common.errors import DeviceError
from skiff_device.crew import keys, names, raw_env, repo, store
from skiff_device.crew import release as releases
from skiff_device.crew.backup_file import PIECE, Pieces, Writer
from skiff_device.crew.engine import Engine
from skiff_device.crew.engine_api import CHUNK
from skiff_device.crew.paths import Paths

Say = Callable[[str], None]
# Files in a folder of storage may belong to anybody, and crew is not root: the engine reads and writes them,
# through a container of an empty image that is never started. Where it sees the folder:
MOUNT = "/storage"
_EMPTY = "crew/backup:empty"
# A tar ends with so many zeros, in bytes.
_END = 1024


def storage_of(paths: Paths, app: str) -> list[str]:
    """Names of the folders below storage that an app mounts."""
    found = {}
    for mount in store.section(paths, app, "storage").get("mounts", []):
        host = str(mount).partition(":")[0]
        inside = host.removeprefix(f"{_storage(paths)}/")
        if inside != host and inside:
            found[inside.partition("/")[0]] = True
    return list(found)


def _storage(paths: Paths) -> str:
    # As mounts name it: on the device, whatever folder stands in for it.
    return "/" + str(paths.storage.relative_to(paths.root))


def architecture(engine: Engine) -> str:
    """The CPU that images of this device are for, in the engine's words."""
    return str(engine.version().get("Arch", ""))


def export(paths: Paths, apps: list[str], with_keys: bool, out: IO[bytes], say: Say) -> None:
    """Write a backup of apps (none named: of all, and of what is set for all). Raises DeviceError."""
    engine = Engine(paths)
    everything = not apps
    apps = apps or store.apps(paths)
    folders = {folder: app for app in reversed(apps) for folder in storage_of(paths, app)}
    about = {
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "arch": architecture(engine), "apps": apps, "storage": sorted(folders),
    }  # fmt: skip
    writer = Writer(out, about)
    if everything:
        writer.json("global/settings.json", store.whole(paths, None))
        writer.json("global/env.json", store.env(paths, None))
    if with_keys:
        writer.json("keys.json", keys.read(paths))
    for app in apps:
        say(f"-----> {app}")
        _app(paths, engine, writer, app, [name for name, owner in folders.items() if owner == app], say)
    writer.close()


def _app(paths: Paths, engine: Engine, writer: Writer, app: str, folders: list[str], say: Say) -> None:
    # Together, so that a deploy does not come between them.
    with store.alone(paths, f"deploy-{app}", lambda: say(f"waiting for another change of {app}")):
        settings, variables = store.whole(paths, app), store.env(paths, app)
        release = releases.current(paths, app)
        certs = _certs(paths, app)
    writer.json(f"apps/{app}/settings.json", settings)
    writer.json(f"apps/{app}/env.json", variables)
    for name, data in certs.items():
        writer.add(f"apps/{app}/certs/{name}", data)
    repo.use(paths, app)
    if run.capture(["git", "for-each-ref", "--count=1", "refs/heads"]).out:
        with writer.pieces(f"apps/{app}/repo") as pieces:
            run.copy(["git", "bundle", "create", "--quiet", "-", "--branches"], pieces)  # type: ignore[arg-type]
    if release is not None:
        _image(engine, writer, app, release)
    for folder in folders:
        say(f"       storage {folder}")
        with (
            mounted(paths, engine, app, folder) as container,
            writer.pieces(f"apps/{app}/storage/{folder}") as pieces,
        ):
            if not _whole(engine.read_tree(container, f"{MOUNT}/."), pieces):
                raise DeviceError(
                    f"storage/{folder} changed or cannot be read while it was copied",
                    f"ps:stop {app}, and again",
                )


class _Copy(io.RawIOBase):
    """Hands a tar on while somebody reads it, and knows how it ended."""

    def __init__(self, tar: Iterator[bytes], out: Pieces) -> None:
        self._tar = tar
        self._out = out
        self.end = b""

    def read(self, size: int = -1) -> bytes:
        """The next piece, of whatever size; nothing at the end."""
        data = next(self._tar, b"")
        self._out.write(data)
        self.end = (self.end + data)[-_END:]
        return data


def _whole(tar: Iterator[bytes], out: Pieces) -> bool:
    """Hand a tar of the engine's on; whether all of it came.

    Of a file that became shorter, or cannot be read, the engine only logs it: what follows is missing then.
    """
    copy = _Copy(tar, out)
    try:
        with tarfile.open(fileobj=copy, mode="r|", bufsize=CHUNK) as heads:
            for _ in heads:
                # tarfile would remember all of them.
                heads.members = []  # type: ignore[attr-defined]
    except tarfile.TarError:
        return False
    while copy.read(PIECE):
        pass
    return copy.end == bytes(_END)


def _image(engine: Engine, writer: Writer, app: str, release: releases.Release) -> None:
    if engine.image(release.tag) is None:
        raise DeviceError(f"the image of release {release.number} of {app} is gone", f"ps:rebuild {app}")
    writer.json(f"apps/{app}/release.json", {**release._asdict(), "containers": []})
    with writer.pieces(f"apps/{app}/image") as pieces:
        for data in engine.save(release.tag):
            pieces.write(data)


def _certs(paths: Paths, app: str) -> dict[str, bytes]:
    """Certificate and key, and what else is kept with them."""
    folder = paths.certs / app
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= PIECE:
            found[path.name] = path.read_bytes()
    return found


@contextmanager
def mounted(paths: Paths, engine: Engine, app: str, folder: str) -> Iterator[str]:
    """A container, never started, in which a folder of storage is at MOUNT."""
    container = f"{app}.backup"
    if engine.image(_EMPTY) is None:
        nothing = io.BytesIO()
        tarfile.open(fileobj=nothing, mode="w").close()
        nothing.seek(0)
        engine.import_tar(nothing, _EMPTY)
    engine.remove(container)
    words = [
        f"--label=crew.app={app}",
        "--network",
        "none",
        "--volume",
        f"{_storage(paths)}/{folder}:{MOUNT}",
    ]
    # An image must have some command.
    engine.create(container, [*words, _EMPTY, "never"])
    try:
        yield container
    finally:
        # What cannot be removed now goes at the next backup or cleanup.
        with suppress(DeviceError):
            engine.remove(container)


def check_settings(value: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Settings as `store` has them: sections of settings. Raises DeviceError."""
    if not all(isinstance(part, dict) for part in value.values()):
        raise DeviceError("the backup is damaged: settings are no sections", "take another one")
    return value


def check_variables(value: dict[str, Any]) -> dict[str, str]:
    """Variables with good names. Raises DeviceError."""
    for name, text in value.items():
        names.variable(name)
        if not isinstance(text, str) or not raw_env.may_be(text):
            raise DeviceError(f"the backup is damaged: {name} is no text", "take another one")
    return value


def check_release(value: dict[str, Any], number: int = 1) -> releases.Release:
    """A release that a backup tells of; number, tag and containers are given anew. Raises DeviceError."""
    try:
        processes = {
            names.process(name): [str(word) for word in words] if words is not None else None
            for name, words in dict(value["processes"]).items()
        }
        app_json = value.get("app_json", {})
        # Half of a pair of UTF-16 is no text that can be kept.
        json.dumps(value, ensure_ascii=False).encode()
        return releases.Release(
            number, str(value["created"])[:40], str(value["reason"])[:200], "", "",
            str(value.get("commit", ""))[:64], processes or {"web": None},
            tuple(int(port) for port in value.get("exposed", [])),
            app_json if isinstance(app_json, dict) else {}, str(value.get("checks", "")),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DeviceError(f"the backup is damaged: release: {error}", "take another one") from None
