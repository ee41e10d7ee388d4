"""Folders of this machine that the tool uses."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from skiff.host.errors import UserError
from skiff.host.files import at_home, write_atomic
from skiff.model.workspace import Workspace

# Marks a folder as a cache, for programs that save files too (https://bford.info/cachedir/).
CACHE_TAG = "CACHEDIR.TAG"
_TAG_TEXT = "Signature: 8a477f597d28d172789f06886806bc55\n# Skiff makes it again when it is needed.\n"


def cache_dir() -> Path:
    """What may vanish and is made again: SKIFF_CACHE, else the user's cache folder.

    Raises UserError when it is a file.
    """
    named = os.environ.get("SKIFF_CACHE")
    folder = at_home(named) if named else Path(platformdirs.user_cache_dir("skiff"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise UserError(f"{folder}: not a folder", hint="SKIFF_CACHE names a folder for the cache") from error
    if not (folder / CACHE_TAG).exists() and (not named or not any(folder.iterdir())):
        write_atomic(folder / CACHE_TAG, _TAG_TEXT.encode())
    return folder.resolve()


def removable_cache() -> Path:
    """The cache folder, to be removed with all in it. Raises UserError if that may be more than ours."""
    folder = cache_dir()
    if not (folder / CACHE_TAG).exists():
        raise UserError(
            f"{folder}: it has no {CACHE_TAG}, so it may hold more than Skiff's cache",
            hint="remove yourself what is not needed; or does SKIFF_CACHE name the wrong folder?",
        )
    return folder


def blobs_dir(workspace: Workspace) -> Path:
    """Where the user puts pieces of bootloaders: SKIFF_BLOBS, else the workspace's `blobs/`."""
    named = os.environ.get("SKIFF_BLOBS")
    return at_home(named).absolute() if named else workspace.blobs


def device_python() -> Path:
    """The Python that runs on the device: beside this package, in a checkout and installed alike."""
    return Path(__file__).resolve().parent.parent.parent / "skiff_device"


def builtin_layers() -> Path:
    """The layers that come with the tool: the checkout's, or those inside the installed package."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_layers"
    return installed if installed.is_dir() else package.parent.parent / "layers"
