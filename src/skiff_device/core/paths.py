"""Where things are on the device; SKIFF_ROOT stands a folder in for the whole machine, for tests."""

from __future__ import annotations

import os
from pathlib import Path

LOGIN = "/usr/lib/skiff/core/login"
SESSIONS = "/tmp/skiff-core"
PERSIST = "/mnt/persist"


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
        self.config = self.persist / "config.yaml"
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


def write_atomically(path: Path, text: str, mode: int = 0o644, owner: tuple[int, int] | None = None) -> bool:
    """Put a small file in place so that nobody sees half of it; False when it already said that.

    owner is (uid, gid); it is left as it is where this process may not change it (tests).
    """
    data = text.encode()
    same = False
    try:
        same = path.read_bytes() == data
    except OSError:
        path.parent.mkdir(parents=True, exist_ok=True)
    if same:
        _own(path, mode, owner)
        return False
    beside = path.with_name(f".{path.name}.skiff-new")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    _own(beside, mode, owner)
    beside.replace(path)
    return True


def _own(path: Path, mode: int, owner: tuple[int, int] | None) -> None:
    path.chmod(mode)
    if owner is not None and os.geteuid() == 0:
        os.chown(path, *owner)
