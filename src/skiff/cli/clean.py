"""`skiff clean`: remove what was built."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from skiff.cli.options import examples, ui_option, workspace_option
from skiff.host.dirs import CACHE_TAG, removable_cache
from skiff.host.errors import UserError
from skiff.host.lock import hold
from skiff.host.ui import Ui
from skiff.model.workspace import Workspace

# How the name begins of what is being removed, or was when that was broken off.
_ASIDE = ".removed-"


@click.command(
    epilog=examples(
        "skiff clean                 the workspace's image, and its disk image",
        "skiff clean --all -w arm    all of workspace arm: image, configuration, keys, persist disk",
        "skiff clean --cache         downloads and other things that all workspaces share",
    )
)
@click.option(
    "--all", "everything", is_flag=True, help="The whole workspace, with its persist disk and keys."
)
@click.option("--cache", is_flag=True, help="The cache that all workspaces share, instead of the image.")
@workspace_option
@ui_option
def command(everything: bool, cache: bool, workspace: Workspace, ui: Ui) -> None:
    """Remove what was built: the image, and with options more. The next build makes it anew."""
    shared = removable_cache() if cache else None
    doomed = [shared] if shared else []
    if everything:
        _refuse_running(workspace)
        doomed.append(workspace.root)
    elif not cache:
        doomed.append(workspace.image)
        if workspace.disk.exists():
            doomed.append(workspace.disk)
    for folder in doomed:
        if not folder.exists():
            ui.notice(f"nothing there: {folder}")
            continue
        if folder.is_symlink():
            ui.notice(f"removed the link {folder}; {folder.resolve()} stays")
            folder.unlink()
            continue
        remove = _remove_cache if folder == shared else _remove
        if folder.is_relative_to(workspace.root):
            with hold(workspace):
                remove(folder)
        else:
            remove(folder)
        ui.notice(f"removed {folder}")


def _refuse_running(workspace: Workspace) -> None:
    from skiff.machine.bringup import running
    from skiff.machine.files import MachineFiles

    if running(MachineFiles(workspace.machine)) is not None:
        raise UserError(f"the machine of workspace {workspace.name} is running", hint="skiff stop")


def _remove_cache(folder: Path) -> None:
    """The same for the cache, where builds trust what is there: broken off, this leaves nothing in parts.

    What says that it is one goes last, so that it can be removed another time.
    """
    aside = [_set_aside(path) for path in sorted(folder.iterdir()) if path.name != CACHE_TAG]
    for path in aside:
        if path.is_dir() and not path.is_symlink():
            with suppress(OSError):
                path.chmod(0o700)
            _remove(path)
        else:
            # What cannot be removed is told below.
            with suppress(OSError):
                path.unlink()
    _remove(folder)


def _set_aside(path: Path) -> Path:
    """Give it a name that no build looks for. A mount point stays where it is."""
    if path.name.startswith(_ASIDE):
        return path
    with suppress(OSError):
        return path.rename(path.with_name(f"{_ASIDE}{os.getpid()}-{path.name}"))
    return path


def _remove(folder: Path) -> None:
    """Remove a folder and all in it; a mount point is emptied. Nothing outside of it is touched."""

    def refused(_: object, path: str | Path, error: Any) -> None:
        if Path(path) != folder or error[1].errno != errno.EBUSY:
            raise UserError(f"cannot remove {path}: {error[1].strerror}", hint="see who owns it")

    # Unpacked packages may hold folders that even their owner may not write to.
    for parent, names, _ in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            if not path.is_symlink():
                with suppress(OSError):
                    path.chmod(0o700)
    shutil.rmtree(folder, onerror=refused)
