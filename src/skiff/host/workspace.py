"""Finding a workspace by its name, and what is remembered in it between two commands."""

from __future__ import annotations

import os
import re

import msgspec

from skiff.host import json
from skiff.host.errors import UserError
from skiff.host.files import at_home, write_atomic
from skiff.model.config import Config
from skiff.model.packages import PackageSet
from skiff.model.workspace import Workspace

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def open_workspace(name: str | None = None) -> Workspace:
    """The workspace of that name; without one, of `SKIFF_WORKSPACE`, else `default`. Makes no folder.

    It lies in the folder `SKIFF_WORKSPACES`, else in `workspaces` of the current folder.
    Raises UserError for a name that cannot be a folder's.
    """
    name = name or os.environ.get("SKIFF_WORKSPACE") or "default"
    if not _NAME.fullmatch(name):
        raise UserError(
            f"workspace {name!r}: not a name for a workspace",
            hint="use letters, digits, '.', '_' and '-', a letter or digit first",
        )
    parent = at_home(os.environ.get("SKIFF_WORKSPACES") or "workspaces")
    return Workspace(name=name, root=parent.absolute() / name)


def load_config(workspace: Workspace) -> Config | None:
    """What the workspace was configured with; None when it was not. Raises UserError when unreadable."""
    try:
        return json.decode(workspace.config.read_bytes(), Config)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except msgspec.DecodeError as error:
        raise UserError(
            f"{workspace.config}: not a configuration: {error}", hint="write a new one with `skiff configure`"
        ) from error


def load_lock(workspace: Workspace) -> PackageSet:
    """What `skiff lock` wrote down. Raises UserError when there is none, or it is unreadable."""
    try:
        return json.decode(workspace.lock.read_bytes(), PackageSet)
    except FileNotFoundError as error:
        raise UserError(f"{workspace.lock}: there is no lock", hint="write one with `skiff lock`") from error
    except msgspec.DecodeError as error:
        raise UserError(
            f"{workspace.lock}: not a lock: {error}", hint="write a new one with `skiff lock`"
        ) from error


def save_config(workspace: Workspace, config: Config) -> None:
    """Remember a configuration: wholly, or not at all."""
    write_atomic(workspace.config, json.encode(config))
