"""Which SSH keys may log in to an image: the user's own, files that the user names, the workspace's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from skiff.host.errors import UserError
from skiff.host.keys import check_keys, read_key, user_keys, workspace_key
from skiff.model.recipe import LayerRef
from skiff.model.workspace import Workspace

# Where a layer's files bring keys along, and the name that those of a build have there.
_IN_LAYER = "etc/skiff/authorized_keys"
_OF_BUILD = "build.pub"


class Authorized(msgspec.Struct, frozen=True):
    """A whole line of authorized_keys, and where it is from in a few words."""

    line: str
    source: str

    @property
    def identity(self) -> tuple[str, ...]:
        """Type and key without comment: equal for the same key."""
        return tuple(self.line.split()[:2])


def gather(
    workspace: Workspace, *, files: Sequence[Path], user: bool, own: bool, make: bool
) -> tuple[Authorized, ...]:
    """All keys that may log in, each once: the user's, those of ``files``, the workspace's (``own``).

    The workspace's key lets `skiff ssh` in without passphrase or agent. ``make``: made when it is missing.
    Raises UserError for a file without a public key.
    """
    found = [Authorized(line, _short(path)) for path, line in (user_keys() if user else [])]
    found += [Authorized(read_key(path), _short(path)) for path in files]
    public = workspace.private_key.with_name(f"{workspace.private_key.name}.pub")
    if own and (make or public.exists()):
        line = (
            workspace_key(workspace.private_key, f"skiff workspace {workspace.name}")
            if make
            else read_key(public)
        )
        found.append(Authorized(line, "the workspace's own key (for `skiff ssh`)"))
    unique: dict[tuple[str, ...], Authorized] = {}
    for key in found:
        unique.setdefault(key.identity, key)
    return tuple(unique.values())


def in_layer(layer: LayerRef) -> list[Path]:
    """Files with keys that a layer brings along itself. Raises UserError for one that lets nobody in."""
    files = sorted((layer.rootfs / _IN_LAYER).glob("*.pub"))
    # Links go into the image as they are, and what they lead to is on this machine.
    folder = layer.rootfs.resolve() / _IN_LAYER
    for file in files:
        if not file.is_file() or file.resolve() != folder / file.name:
            raise UserError(
                f"{file}: not a plain file: the image would get no key from it",
                hint="copy the public key itself to there",
            )
        if file.name == _OF_BUILD:
            raise UserError(
                f"{file}: it would take the place of the keys that the build puts into the image",
                hint="give it another name that ends in .pub",
            )
        check_keys(file)
    return files


def describe(keys: Sequence[Authorized], brought: Sequence[Path]) -> str:
    """One line that tells which keys may log in."""
    sources = dict.fromkeys([*(key.source for key in keys), *(_short(path) for path in brought)])
    return f"SSH keys that may log in as root: {', '.join(sources)}"


def unreachable() -> UserError:
    """The error for an image that nobody could log in to."""
    return UserError(
        "no SSH key would go into this image: nobody could ever log in to it",
        hint="give one with --ssh-key FILE, leave out --no-user-keys or --no-workspace-key, "
        "or say --allow-unreachable",
    )


def _short(path: Path) -> str:
    try:
        return f"~/{path.relative_to(Path.home())}"
    except ValueError:
        return str(path)
