"""Plug-ins as they lie on persist: plugins/NAME/TRIGGER; a file `disabled` in the folder holds one back.

They are programs of this device and run as the user crew, who may do all that crew may. So only admins
install them.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

from skiff_device.common.errors import DeviceError
from skiff_device.crew import hooks, names, store
from skiff_device.crew.archive import Head
from skiff_device.crew.paths import Paths

# Of one plug-in.
_FILES = 100
_SIZE = 4 << 20


class Plugin(NamedTuple):
    """One plug-in, and the triggers by which it is called."""

    name: str
    enabled: bool
    triggers: tuple[str, ...]


def listing(paths: Paths) -> list[Plugin]:
    """All of them, in the order in which they are called."""
    folders = sorted(paths.plugins.glob("[!.]*/")) if paths.plugins.is_dir() else []
    return [
        Plugin(
            folder.name,
            not (folder / hooks.DISABLED).exists(),
            tuple(name for name in hooks.TRIGGERS if os.access(folder / name, os.X_OK)),
        )
        for folder in folders
    ]


def _folder(paths: Paths, name: str) -> Path:
    folder = paths.plugins / name
    if not folder.is_dir():
        raise DeviceError(f"there is no plug-in {name}", "plugin:list shows all")
    return folder


def enable(paths: Paths, name: str, enabled: bool) -> None:
    """Let a plug-in be called, or hold it back. Raises DeviceError."""
    mark = _folder(paths, name) / hooks.DISABLED
    if enabled:
        mark.unlink(missing_ok=True)
    else:
        mark.touch()
    store.sync_folder(mark.parent)


def uninstall(paths: Paths, name: str) -> None:
    """Remove a plug-in. Raises DeviceError."""
    folder = _folder(paths, name)
    # Out of sight at once, whenever the power goes.
    gone = paths.plugins / f".gone.{name}"
    shutil.rmtree(gone, ignore_errors=True)
    folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def install(paths: Paths, name: str, stream: BinaryIO) -> Plugin:
    """Take a plug-in from a tar, packed or not. Raises DeviceError, and nothing has changed then."""
    folder = paths.plugins / name
    if folder.exists():
        raise DeviceError(f"there is a plug-in {name} already", f"plugin:uninstall {name}")
    beside = paths.plugins / f".new.{name}.{os.getpid()}"
    beside.mkdir(mode=0o700, parents=True)
    try:
        _unpack(stream, beside)
        if not any(os.access(beside / trigger, os.X_OK) for trigger in hooks.TRIGGERS):
            raise DeviceError("no file in it is an executable named as a trigger", " ".join(hooks.TRIGGERS))
        os.sync()
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    store.sync_folder(paths.plugins)
    return next(one for one in listing(paths) if one.name == name)


def _unpack(stream: BinaryIO, folder: Path) -> None:
    left = _SIZE
    try:
        with tarfile.open(fileobj=stream, mode="r|*", tarinfo=Head) as tar:
            for count, info in enumerate(tar):
                path = info.name.removeprefix("./")
                if info.isdir() and path in ("", "."):
                    continue
                left -= info.size
                if count >= _FILES or left < 0:
                    raise DeviceError("this is too much for a plug-in", f"{_FILES} files, {_SIZE >> 20} MB")
                if not info.isreg() or info.issparse():
                    raise DeviceError(f"{names.shown(path)} is no plain file", "tar -C FOLDER -c .")
                file = tar.extractfile(info)
                target = folder / names.key(path)
                target.write_bytes(file.read() if file is not None else b"")
                target.chmod(0o755 if info.mode & 0o111 else 0o644)
    except (tarfile.TarError, zlib.error, OSError, EOFError) as error:
        raise DeviceError(f"the tar cannot be read: {str(error)[:200]}", "tar -C FOLDER -c .") from None
