"""Where Debian's packages come from: this host's own mirror, and the security updates beside it."""

from __future__ import annotations

import re

from skiff.host.errors import UserError
from skiff.host.run import run

DEFAULT_MIRROR = "http://deb.debian.org/debian"
SECURITY_MIRROR = "http://deb.debian.org/debian-security"
# A mirror of that form shows the archive as it once was: HOST/archive/debian/DATE, as snapshot.debian.org.
SNAPSHOT = re.compile(r"/archive/debian/(?=[0-9TZ]+$)")


def security_mirror(mirror: str) -> str:
    """Where the security updates are that belong to a mirror."""
    if SNAPSHOT.search(mirror):
        return SNAPSHOT.sub("/archive/debian-security/", mirror)
    return mirror + "-security" if mirror.endswith("/debian") else SECURITY_MIRROR


def host_mirror() -> str | None:
    """The mirror that this host's own apt uses for Debian, if it is a Debian host."""
    try:
        done = run(
            ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)"], check=False
        )
    except UserError:
        return None
    for line in done.stdout.decode().splitlines():
        uri, _, rest = line.partition(" ")
        release = rest.partition(" ")[0]
        if rest.endswith(" main") and uri.rstrip("/").endswith("/debian") and "-" not in release:
            return uri.rstrip("/")
    return None
