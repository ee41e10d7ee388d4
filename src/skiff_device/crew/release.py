"""Releases of an app: what was deployed, as kept in releases/N/release.json, and which of them serves."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from typing import Any, NamedTuple

from skiff_device.common.errors import DeviceError
from skiff_device.common.files import write_atomically
from skiff_device.crew import store
from skiff_device.crew.paths import Paths


class Running(NamedTuple):
    """A container of a release. address is its IPv4 on the network of apps."""

    name: str
    process: str
    # Nobody asks a container for the method of tuples that this name hides.
    index: int  # type: ignore[assignment]
    address: str


class Release(NamedTuple):
    """One release. processes have the command of each type; None is the image's own."""

    number: int
    created: str
    reason: str
    image: str
    tag: str
    commit: str = ""
    # Nobody changes a release, so an empty one may be shared.
    processes: dict[str, list[str] | None] = {}  # noqa: RUF012
    # TCP ports that the image names (EXPOSE), lowest first.
    exposed: tuple[int, ...] = ()
    app_json: dict[str, Any] = {}  # noqa: RUF012
    checks: str = ""
    containers: tuple[Running, ...] = ()
    # On a cluster: processes that are services, and the port of each device that leads to `web` (0: none).
    services: tuple[str, ...] = ()
    port: int = 0
    # There too: its secrets and configs, see service_files.
    files: dict[str, dict[str, dict[str, str]]] = {}  # noqa: RUF012
    # By other CPUs than this device's: images (digests in the cluster's registry), or why there is none.
    others: dict[str, str] = {}  # noqa: RUF012
    lacks: dict[str, str] = {}  # noqa: RUF012
    # Checksum of the variables that its containers were made with.
    variables: str = ""


def _folder(paths: Paths, app: str) -> Any:
    return paths.app(app) / "releases"


def tag(app: str, number: int) -> str:
    """The name by which a release's image is kept."""
    return f"crew/{app}:{number}"


def save(paths: Paths, app: str, release: Release) -> None:
    """Write a release; it does not serve before `point_at`."""
    folder = _folder(paths, app) / str(release.number)
    folder.mkdir(parents=True, exist_ok=True)
    whole = {**release._asdict(), "containers": [one._asdict() for one in release.containers]}
    text = json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False)
    write_atomically(folder / "release.json", text + "\n", 0o600)
    store.sync_folder(folder)
    store.sync_folder(folder.parent)


def load(paths: Paths, app: str, number: int) -> Release | None:
    """A release by its number, or None."""
    path = _folder(paths, app) / str(number) / "release.json"
    try:
        found = json.loads(path.read_text())
        found["containers"] = tuple(Running(**_known(one, Running._fields)) for one in found["containers"])
        found["exposed"] = tuple(found["exposed"])
        # The app may have had another name.
        found["tag"] = tag(app, number)
        found["services"] = tuple(found.get("services", ()))
        return Release(**_known(found, Release._fields))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DeviceError(f"{path} cannot be read: {error}", "rollback to another release") from None


def _known(found: dict[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    """Without what a newer Skiff notes: an update that is taken back finds releases that it made."""
    return {name: found[name] for name in fields if name in found}


def numbers(paths: Paths, app: str) -> list[int]:
    """Numbers of all releases that are kept, oldest first."""
    folder = _folder(paths, app)
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def kept(paths: Paths, app: str) -> list[Release]:
    """All releases that are kept, oldest first, but those whose file is damaged."""
    found = (readable(paths, app, number) for number in numbers(paths, app))
    return [one for one in found if one is not None]


def readable(paths: Paths, app: str, number: int) -> Release | None:
    """A release by its number; None also when its file is damaged."""
    with suppress(DeviceError):
        return load(paths, app, number)
    return None


def current_number(paths: Paths, app: str) -> int:
    """Number of the release that serves; 0 when there is none. Raises DeviceError where it cannot tell."""
    link = paths.app(app) / "current"
    try:
        name = link.readlink().name
    except FileNotFoundError:
        return 0
    except OSError as error:
        # Taken for none, it would be the end of all releases at the next boot.
        raise DeviceError(f"{link} cannot be read: {error.strerror}", "dmesg; restart the device") from None
    return int(name) if name.isdigit() else 0


def current(paths: Paths, app: str) -> Release | None:
    """The release that serves, or None."""
    number = current_number(paths, app)
    return load(paths, app, number) if number else None


def serving(paths: Paths, app: str) -> Release | None:
    """The release that serves; None also when what is kept of it is damaged."""
    with suppress(DeviceError):
        return current(paths, app)
    return None


def point_at(paths: Paths, app: str, number: int) -> None:
    """The switch: from now on, also after a power cut, that release serves (0: none)."""
    link = paths.app(app) / "current"
    if not number:
        link.unlink(missing_ok=True)
    else:
        fresh = link.with_name("current.new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(f"releases/{number}")
        fresh.replace(link)
    store.sync_folder(link.parent)


def forget(paths: Paths, app: str, number: int) -> None:
    """Remove the record of a release."""
    folder = _folder(paths, app) / str(number)
    (folder / "release.json").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
