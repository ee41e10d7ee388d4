"""Where crew keeps things; SKIFF_ROOT stands a folder in for the whole machine, for tests."""

from __future__ import annotations

import os
from pathlib import Path


class Paths:
    """Every path that crew reads or writes, below one root folder."""

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        if root is None:
            root = os.environ.get("SKIFF_ROOT", "")
        self.root = Path(os.fspath(root) or "/")
        self.persist_flag = self.root / "run/skiff/persist"
        self.crew = self.root / "mnt/persist/skiff/crew"
        self.apps = self.crew / "apps"
        self.keys = self.crew / "keys.json"
        # Settings of all apps: sections as an app has them.
        self.settings = self.crew / "settings.json"
        self.env = self.crew / "env.json"
        self.events = self.crew / "events.log"
        self.plugins = self.crew / "plugins"
        self.storage = self.crew / "storage"
        self.certs = self.crew / "certs"
        # In RAM: locks, the router's configuration, state lines.
        self.run = self.root / "run/skiff/crew"
        self.locks = self.run / "locks"
        self.authorized_keys = self.root / "home/crew/.ssh/authorized_keys"
        self.root_keys = self.root / "run/skiff/crew/root_keys"

    @property
    def engine_socket(self) -> Path:
        """The engine's socket: docker's, or podman's where that is there."""
        podman = self.root / "run/podman/podman.sock"
        return podman if podman.exists() else self.root / "run/docker.sock"

    def app(self, name: str) -> Path:
        """Folder of an app; the name must have been checked (names.app)."""
        return self.apps / name
