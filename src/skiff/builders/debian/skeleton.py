"""What Debian's maintainer scripts would have made: the merged /usr, accounts, the CA bundle."""

from __future__ import annotations

import re

from skiff.builders.lay import ORIGIN, file
from skiff.host.errors import UserError
from skiff.model.accounts import GROUPS, USERS
from skiff.model.arch import Arch
from skiff.model.recipe import Recipe
from skiff.model.tree import Entry, Kind, Tree

_DIRS = {
    "dev": 0o755,
    "etc": 0o755,
    "home": 0o755,
    "mnt": 0o755,
    "proc": 0o555,
    "root": 0o700,
    "run": 0o755,
    "sys": 0o555,
    "tmp": 0o1777,
    "usr/bin": 0o755,
    "usr/lib": 0o755,
    "usr/sbin": 0o755,
    "var/cache": 0o755,
    "var/lib": 0o755,
    "var/spool": 0o755,
    "var/tmp": 0o1777,
}
_LINKS = {
    "bin": "usr/bin",
    "sbin": "usr/sbin",
    "lib": "usr/lib",
    "var/run": "/run",
    "var/lock": "/run/lock",
    "var/log": "/run/log",
    "etc/mtab": "/proc/self/mounts",
}


def add_skeleton(tree: Tree, arch: Arch) -> None:
    """The folders and links that every Debian system has before its first package."""
    if arch in (Arch.AMD64,):
        tree.add("usr/lib64", Entry(Kind.DIR, 0o755, ORIGIN))
        tree.add("lib64", Entry(Kind.LINK, 0o777, ORIGIN, target="usr/lib64"))
    for path, mode in _DIRS.items():
        tree.add(path, Entry(Kind.DIR, mode, ORIGIN))
    for path, target in _LINKS.items():
        tree.add(path, Entry(Kind.LINK, 0o777, ORIGIN, target=target))


def add_accounts(tree: Tree, recipe: Recipe) -> None:
    """passwd, group, shadow and gshadow. Every password is locked."""
    groups = {**GROUPS, **recipe.groups}
    members: dict[str, list[str]] = {}
    # A layer's word on root or nobody takes the place of ours: two lines of one name would be a riddle.
    by_name = {user[0]: user for user in USERS}
    for user in recipe.users:
        groups.setdefault(user.name, user.uid)
        by_name[user.name] = (user.name, user.uid, groups[user.name], user.home, user.shell)
        for group in user.groups:
            if group not in groups:
                raise UserError(f"user {user.name} belongs to group {group}, which no layer defines")
            members.setdefault(group, []).append(user.name)
        if user.home != "/nonexistent":
            tree.add(
                user.home.strip("/"), Entry(Kind.DIR, 0o700, ORIGIN, uid=user.uid, gid=groups[user.name])
            )
    users = by_name.values()
    passwd = "".join(f"{name}:x:{uid}:{gid}::{home}:{shell}\n" for name, uid, gid, home, shell in users)
    tree.add("etc/passwd", file(passwd))
    tree.add(
        "etc/group",
        file("".join(f"{n}:x:{gid}:{','.join(members.get(n, []))}\n" for n, gid in groups.items())),
    )
    # `*` is no hash: no password opens it, and key log-in stays allowed.
    tree.add(
        "etc/shadow", file("".join(f"{user[0]}:*:19000:0:99999:7:::\n" for user in users), 0o640, gid=42)
    )
    tree.add(
        "etc/gshadow",
        file("".join(f"{n}:*::{','.join(members.get(n, []))}\n" for n in groups), 0o640, gid=42),
    )


def add_certificates(tree: Tree) -> None:
    """The CA bundle, from the certificates that the ca-certificates package brought (if it is there)."""
    paths = [path for path, _ in tree.files() if re.match(r"usr/share/ca-certificates/.*\.crt$", path)]
    if paths:
        tree.add("etc/ssl/certs/ca-certificates.crt", file(b"".join(tree[path].read() for path in paths)))
        tree.remove("usr/share/ca-certificates")
