"""Where things are on the device; SKIFF_ROOT stands a folder in for the whole machine, for tests."""

from __future__ import annotations

import os
from pathlib import Path

LOGIN = "/usr/lib/skiff/core/login"
SESSIONS = "/tmp/skiff-core"
PERSIST = "/mnt/persist"
CONFIG = f"{PERSIST}/skiff/core/config.yaml"


class Paths:
    """Every path that is read or written, below one root folder."""

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        if root is None:
            root = os.environ.get("SKIFF_ROOT", "")
        self.root = Path(os.fspath(root) or "/")
        self.etc = self.root / "etc"
        self.run = self.root / "run/skiff/core"
        self.status = self.root / "run/skiff/status/core"
        self.users = self.run / "users"
        self.containers = self.run / "containers"
        self.logs = self.run / "log"
        self.boot = self.run / "boot.json"
        self.lock = self.run / "lock"
        self.image = self.root / "usr/share/skiff/core"
        self.seed = self.image / "config.yaml"
        self.persist_flag = self.root / "run/skiff/persist"
        self.persist = self.at(PERSIST) / "skiff/core"
        self.config = self.at(CONFIG)
        self.good = self.persist / "config.good.yaml"
        self.known = self.persist / "known.json"
        self.env = self.persist / "env"
        self.work = self.persist / "work"
        self.root_keys = self.root / "root/.ssh/authorized_keys"
        self.proc = self.root / "proc"

    def at(self, path: str) -> Path:
        """A path of the device as a path of this process."""
        return self.root / path.lstrip("/")

    def persist_is_there(self) -> bool:
        """Whether persist is mounted, as the base system tells it."""
        return self.persist_flag.exists()
