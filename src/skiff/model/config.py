"""What a user chose for a workspace: the value that `skiff configure` saves and later verbs read."""

from __future__ import annotations

from pathlib import Path

import msgspec

from skiff.model.arch import Arch


class Config(msgspec.Struct, frozen=True):
    """A workspace's choices. Paths are absolute."""

    # Names, or paths of layers that lie elsewhere, in the order given.
    layers: tuple[str, ...]
    # None: chosen by the layers, the CPU of this machine when they allow it.
    arch: Arch | None = None
    # What builds: `debian` or `buildroot`.
    builder: str = "debian"
    # Where the kernel comes from: `package` or `source`. Empty: as the layers say.
    kernel: str = ""
    # A checkout of SkiffOS whose own system is meant by the names.
    skiffos: Path | None = None
    # Folders with layers of the user's own (`DIR/<namespace>/<name>`).
    layers_dirs: tuple[Path, ...] = ()
    # Files with public keys, besides the user's own ones.
    ssh_keys: tuple[Path, ...] = ()
    # Whether the building user's public keys go into the image.
    user_keys: bool = True
    # Whether the key made in the workspace does.
    workspace_key: bool = True
    # Whether an image is built that nobody could log in to.
    allow_unreachable: bool = False
