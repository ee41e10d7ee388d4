"""Where Debian's packages come from: this host's own mirror, and the security updates beside it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from skiff.host.dirs import cache_dir
from skiff.host.errors import UserError
from skiff.host.files import digest, file_digest, write_atomic
from skiff.host.run import run, which

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
    """The mirror that this host's own apt uses for Debian, if it is a Debian host.

    apt takes half a second to tell; its answer is kept as long as its settings are the same.
    """
    settings = _apt_settings()
    file = cache_dir() / "host-mirror"
    if file.exists():
        known, _, mirror = file.read_text().partition("\n")
        if known == settings:
            return mirror or None
    asked = _asked_mirror()
    if asked is not None:
        write_atomic(file, f"{settings}\n{asked}".encode())
    return asked or None


def _apt_settings() -> str:
    """Hash of what decides which mirror apt uses."""
    folder = Path("/etc/apt")
    files = [folder / "sources.list", folder / "apt.conf"]
    files += [*folder.glob("sources.list.d/*"), *folder.glob("apt.conf.d/*")]
    files += [Path(os.environ["APT_CONFIG"])] if os.environ.get("APT_CONFIG") else []
    # Some may be for root alone, as those with passwords of proxies.
    readable = [path for path in sorted(files) if path.is_file() and os.access(path, os.R_OK)]
    texts = [f"{path} {file_digest(path)}" for path in readable]
    return digest("\n".join([str(which("apt-get")), *texts]))


def _asked_mirror() -> str | None:
    """apt's answer, empty if it uses none; None when it could not be asked."""
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
    return "" if done.returncode == 0 else None
