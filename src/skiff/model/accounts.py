"""Users and groups that the debian builder gives every image: fixed numbers of Debian's base-passwd."""

from __future__ import annotations

GROUPS = {
    "root": 0, "daemon": 1, "bin": 2, "sys": 3, "adm": 4, "tty": 5, "disk": 6, "mail": 8, "kmem": 15,
    "dialout": 20, "sudo": 27, "audio": 29, "shadow": 42, "utmp": 43, "video": 44, "users": 100,
    "nogroup": 65534,
}  # fmt: skip
# Name, number, group's number, home, shell.
USERS = (
    ("root", 0, 0, "/root", "/bin/sh"),
    ("daemon", 1, 1, "/usr/sbin", "/usr/sbin/nologin"),
    ("nobody", 65534, 65534, "/nonexistent", "/usr/sbin/nologin"),
)
