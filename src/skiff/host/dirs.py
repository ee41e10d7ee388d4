"""Folders of this machine that the tool uses."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from skiff.model.workspace import Workspace


def cache_dir() -> Path:
    """What may vanish and is made again: SKIFF_CACHE, else the user's cache folder."""
    named = os.environ.get("SKIFF_CACHE")
    folder = Path(named) if named else Path(platformdirs.user_cache_dir("skiff"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def blobs_dir(workspace: Workspace) -> Path:
    """Where the user puts pieces of bootloaders: SKIFF_BLOBS, else the workspace's `blobs/`."""
    named = os.environ.get("SKIFF_BLOBS")
    return Path(named).expanduser().absolute() if named else workspace.blobs


def device_python() -> Path:
    """The Python that runs on the device: beside this package, in a checkout and installed alike."""
    return Path(__file__).resolve().parent.parent.parent / "skiff_device"


def builtin_layers() -> Path:
    """The layers that come with the tool: the checkout's, or those inside the installed package."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_layers"
    return installed if installed.is_dir() else package.parent.parent / "layers"
