"""What of the device a container of an app sees: words HOST:CONTAINER[:OPTION], checked."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from skiff_device.common.errors import DeviceError
from skiff_device.crew import names
from skiff_device.crew.command import Caller
from skiff_device.crew.paths import Paths

# A folder below storage: the app's own name, or that and one of one's choice behind a dot, which no app has.
_FOLDER = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?(?:\.[a-z0-9][a-z0-9_-]{0,39})?")
_OPTIONS = ("rw", "ro")
_LONGEST = 1000


class Mount(NamedTuple):
    """One mount. folder is its name below storage; empty for another path of the device."""

    host: str
    inside: str
    option: str
    folder: str

    def __str__(self) -> str:
        return f"{self.host}:{self.inside}" + (f":{self.option}" if self.option else "")


def folder_of(text: str) -> str:
    """Name of a folder below storage. Raises DeviceError."""
    if not _FOLDER.fullmatch(text):
        raise DeviceError(f"{names.shown(text)!r} is no folder of storage", "APP, or APP.NAME")
    return text


def owns(caller: Caller, app: str, folder: str) -> bool:
    """Whether a folder is one that this caller may give to an app. Others' data is not theirs to give."""
    return caller.role == "admin" or folder.partition(".")[0] == app


def parse(paths: Paths, caller: Caller, app: str, word: str) -> Mount:
    """A mount. Raises DeviceError for what is none, and for what the caller may not give.

    Other paths of the device than folders right below storage are for admins. What lies deeper is so too: an
    app may have put a symbolic link there, which the engine would follow as root.
    """
    fields = word.split(":")
    if not 2 <= len(fields) <= 3:
        raise DeviceError(f"{names.shown(word)!r} is no mount", "FOLDER:/CONTAINER/PATH, or …:ro")
    host, inside, option = fields[0], fields[1], (fields[2] if len(fields) == 3 else "")
    _path(inside, "path in the container")
    if inside == "/":
        raise DeviceError("the whole container cannot be hidden", "name a folder in it")
    if option not in ("", *_OPTIONS):
        raise DeviceError(f"{names.shown(option)!r} is no option of a mount", "ro or rw")
    storage = str(paths.storage)
    if not host.startswith("/"):
        folder = folder_of(host)
    else:
        _path(host, "path of the device")
        below = host.removeprefix(f"{storage}/") if host.startswith(f"{storage}/") else ""
        folder = below if _FOLDER.fullmatch(below) else ""
    if caller.role != "admin" and not (folder and owns(caller, app, folder)):
        raise DeviceError(
            f"key {caller.name} ({caller.role}) may give {app} only folders of its own",
            f"{app}, or {app}.NAME",
        )
    return Mount(f"{storage}/{folder}" if folder else host, inside, option, folder)


def _path(text: str, what: str) -> None:
    if (
        not text.startswith("/")
        or text.startswith("//")
        or len(text) > _LONGEST
        or not text.isprintable()
        or ".." in text.split("/")
        or str(PurePosixPath(text)) != text
    ):
        raise DeviceError(f"{names.shown(text)!r} is no {what}", "absolute, without .. and double slashes")


def ensure(paths: Paths, folder: str) -> Path:
    """Make a folder below storage, for containers' users of any number to write to. Raises DeviceError."""
    made = paths.storage / folder
    try:
        # The one above keeps others out.
        paths.storage.mkdir(mode=0o700, parents=True, exist_ok=True)
        made.mkdir()
        made.chmod(0o777)
    except FileExistsError:
        # It stays as it is.
        pass
    except OSError as error:
        raise DeviceError(f"{made} cannot be made: {error.strerror}", "skiff-status persist") from None
    return made
