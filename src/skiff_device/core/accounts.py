"""Host accounts of those who log in to containers: passwd, keys, and what the log-in program reads.

Done first, before the engine is looked at, so that a log-in can be told what is going on.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from skiff_device.common.files import write_atomically
from skiff_device.core import keys, processes
from skiff_device.core.model import Config, User
from skiff_device.core.paths import LOGIN, Paths

_FIRST, _LAST = 1000, 59999
# What root of a container wrote may be anything: isdigit() takes more than int() does.
NUMBER = re.compile(r"[0-9]{1,10}")
Warn = Callable[[str], None]


@dataclass(frozen=True)
class Known:
    """What the container says of a user; kept on persist, so that the next boot need not wait for it."""

    uid: int = 0
    home: str = ""
    shell: str = ""
    # Which container said so, and of which user in it.
    container: str = ""
    user: str = ""


@dataclass
class Passwd:
    """/etc/passwd, cut into lines of others and accounts of ours (name to uid)."""

    others: list[str]
    ours: dict[str, int]

    @property
    def taken(self) -> set[int]:
        """Numbers of all accounts."""
        fields = [line.split(":") for line in self.others]
        others = {int(one[2]) for one in fields if len(one) > 2 and one[2].isdigit()}
        return others | set(self.ours.values())


def read_passwd(paths: Paths) -> Passwd:
    """The accounts of the host. Ours are those whose shell is the log-in program."""
    others, ours = [], {}
    for line in _lines(paths.etc / "passwd"):
        fields = line.split(":")
        if len(fields) == 7 and fields[6] == LOGIN and fields[2].isdigit() and int(fields[2]) >= _FIRST:
            ours[fields[0]] = int(fields[2])
        else:
            others.append(line)
    return Passwd(others, ours)


def reserved(paths: Paths) -> frozenset[str]:
    """Names that no user of ours may take: accounts and groups of the system."""
    names = {line.split(":")[0] for line in read_passwd(paths).others}
    groups = {line.split(":")[0] for line in _lines(paths.etc / "group")}
    return frozenset(names | groups)


def apply(config: Config, paths: Paths, warn: Warn) -> None:
    """Bring accounts to what the file says. Whoever is gone or locked is out when this returns."""
    known = known_of(config, paths)
    users = {name: user for name, user in config.users.items() if not user.locked}
    passwd = read_passwd(paths)
    gone = {name: uid for name, uid in passwd.ours.items() if name not in users}
    for name in gone:
        _take_keys(paths, name)
    for name in {path.name for path in _listed(paths.users)} - users.keys():
        (paths.users / name).unlink(missing_ok=True)
    accounts: dict[str, int] = {}
    for name in users:
        accounts[name] = _number(name, known[name], passwd, accounts, paths)
    group = _docker_group(paths)
    _write_passwd(paths, passwd, accounts, group)
    for uid in gone.values():
        processes.end_sessions(paths.proc, uid)
    root_keys = _lines(paths.root_keys)
    for name, user in users.items():
        _give_keys(paths, user, (accounts[name], group), root_keys, warn)
        write_for_login(paths, user, known[name])


def write_for_login(paths: Paths, user: User, known: Known) -> None:
    """The file that the log-in program reads: lines of `key=value`, `shell=` once for each word."""
    shell = user.container_shell or (known.shell or "/bin/sh",)
    lines = [f"container={user.container}", f"user={user.container_user}", f"home={known.home}"]
    lines += [f"shell={word}" for word in shell]
    write_atomically(paths.users / user.name, "".join(f"{line}\n" for line in lines))


def read_known(paths: Paths) -> dict[str, Known]:
    """What containers said of users at the last apply."""
    try:
        found = json.loads(paths.known.read_text())["users"]
        return {name: _known(one) for name, one in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _known(kept: dict[str, str]) -> Known:
    texts = (str(kept.get(key, "")) for key in ("home", "shell", "container", "user"))
    return Known(int(kept["uid"]), *texts)


def known_of(config: Config, paths: Paths) -> dict[str, Known]:
    """What still holds of that: another container has other homes and shells, another user his own number."""
    known = read_known(paths)
    found = {}
    for name, user in config.users.items():
        one = known.get(name, Known())
        number = Known(one.uid) if one.user == user.container_user else Known()
        found[name] = one if (one.container, one.user) == (user.container, user.container_user) else number
    return found


def read_known_ids(paths: Paths) -> dict[str, tuple[str, str]]:
    """Id and cgroup of containers at the last apply."""
    try:
        found = json.loads(paths.known.read_text())["containers"]
        return {name: (str(one[0]), str(one[1])) for name, one in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return {}


def known_text(users: dict[str, Known], ids: dict[str, tuple[str, str]]) -> str:
    """Both as the file that keeps them for the next boot."""
    kept = {"users": {name: asdict(one) for name, one in users.items()}, "containers": ids}
    return json.dumps(kept, indent=1, sort_keys=True) + "\n"


def inside(passwd: str, user: str) -> Known | None:
    """A user (name or number, `:group` behind it does not matter) as the container's passwd tells it."""
    wanted = user.partition(":")[0] or "0"
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) >= 7 and wanted in (fields[0], fields[2]) and NUMBER.fullmatch(fields[2]):
            values = [value if value.startswith("/") and value.isprintable() else "" for value in fields[5:7]]
            # An empty home is the root folder to login(1) as well; ours is empty only while nothing is known.
            return Known(int(fields[2]), values[0] or "/", values[1])
    return None


def _number(name: str, known: Known, passwd: Passwd, given: dict[str, int], paths: Paths) -> int:
    """uid of an account: the container user's when that is free, else what it has, else the next free one."""
    now = passwd.ours.get(name)
    others = (passwd.taken - ({now} if now is not None else set())) | set(given.values())
    wanted = known.uid
    free = _FIRST <= wanted <= _LAST and wanted not in others
    # Files and processes of a session keep the number they began with.
    if free and (now is None or not any(processes.of_user(paths.proc, now))):
        return wanted
    if now is not None and now not in given.values():
        return now
    return next(uid for uid in range(_FIRST, _LAST) if uid not in others)


def _docker_group(paths: Paths) -> int:
    """Number of the group that may use the engine's socket; made when the image has none."""
    path = paths.etc / "group"
    lines = _lines(path)
    numbers = {}
    for line in lines:
        fields = line.split(":")
        if len(fields) > 2 and fields[2].isdigit():
            numbers[fields[0]] = int(fields[2])
    if "docker" not in numbers:
        number = next(gid for gid in range(990, 100, -1) if gid not in numbers.values())
        numbers["docker"] = number
        _rewrite(path, [*lines, f"docker:x:{number}:"])
    return numbers["docker"]


def _write_passwd(paths: Paths, passwd: Passwd, accounts: dict[str, int], group: int) -> None:
    lines = [f"{name}:x:{uid}:{group}::/home/{name}:{LOGIN}" for name, uid in accounts.items()]
    _rewrite(paths.etc / "passwd", [*passwd.others, *lines])
    shadow = paths.etc / "shadow"
    if shadow.exists():
        ours = passwd.ours.keys() | accounts.keys()
        others = [line for line in _lines(shadow) if line.split(":")[0] not in ours]
        # `*` is no hash: no password opens it, and log-in by key stays allowed.
        _rewrite(shadow, [*others, *(f"{name}:*:19000:0:99999:7:::" for name in accounts)])


def _rewrite(path: Path, lines: list[str]) -> None:
    """Put a file of accounts in place, with the mode and owner it has."""
    try:
        status = path.stat()
        mode, owner = status.st_mode & 0o7777, (status.st_uid, status.st_gid)
    except OSError:
        mode, owner = 0o644, (0, 0)
    write_atomically(path, "".join(f"{line}\n" for line in lines), mode, owner)


def _give_keys(paths: Paths, user: User, owner: tuple[int, int], root_keys: list[str], warn: Warn) -> None:
    home = paths.at(f"/home/{user.name}")
    ssh = home / ".ssh"
    for folder, mode in ((home, 0o755), (ssh, 0o700)):
        if folder.is_symlink():
            folder.unlink()
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
        folder.chmod(mode)
        if os.geteuid() == 0:
            os.chown(folder, *owner)
    text = keys.forced(user.ssh_keys, f"users.{user.name}.auth.sshKeys", warn)
    if user.copy_root_keys:
        text = keys.forced((*root_keys, *user.ssh_keys), f"user {user.name}", warn)
    write_atomically(ssh / "authorized_keys", text, 0o600, owner)


def _take_keys(paths: Paths, name: str) -> None:
    (paths.at(f"/home/{name}") / ".ssh/authorized_keys").unlink(missing_ok=True)
    (paths.users / name).unlink(missing_ok=True)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
