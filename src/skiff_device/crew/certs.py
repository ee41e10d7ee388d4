"""Certificates of apps: one file an app, with the chain and its key, for the router.

In one file, so that a power cut never leaves a certificate with another one's key.
"""

from __future__ import annotations

import io
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from skiff_device.common import run
from skiff_device.common.errors import DeviceError
from skiff_device.common.files import write_atomically
from skiff_device.crew import names, store
from skiff_device.crew.paths import Paths

Say = Callable[[str], None]
# In bytes: what comes from outside, and one file of it.
LIMIT = 1 << 20
_FILE = 128 << 10
_BLOCK = re.compile(r"-----BEGIN ([A-Z ]{1,40})-----\n[A-Za-z0-9+/=\n]+-----END \1-----", re.ASCII)
_SECONDS = 60.0
# Of a certificate that is made here, for tests and for names that no authority knows.
_SELF_SIGNED_DAYS = "825"


class Info(NamedTuple):
    """What a certificate says; times are in UTC."""

    subject: str
    issuer: str
    domains: tuple[str, ...]
    begins: datetime
    ends: datetime


def path(paths: Paths, app: str) -> Path:
    """Where the certificate of an app is, when it has one."""
    return paths.certs / app / "server.pem"


def openssl(words: list[str], stdin: str = "") -> str:
    """What openssl answers. Raises DeviceError."""
    done = run.capture(["openssl", *words], stdin.encode(), _SECONDS)
    if done.status:
        lines = [line for line in done.err.splitlines() if line.strip()]
        raise DeviceError(
            f"openssl {words[0]}: {names.shown((lines or ['failed'])[0])}", "is it PEM, unencrypted?"
        )
    return done.out.decode(errors="replace")


def pair(data: bytes) -> tuple[str, str]:
    """Chain and key of a tar with *.crt or *.pem and *.key, or of both as PEM. Raises DeviceError."""
    if len(data) > LIMIT:
        raise DeviceError(f"more than {LIMIT >> 20} MB", "a certificate and its key are small")
    text = data.decode(errors="replace") if data.lstrip().startswith(b"-----BEGIN") else _from_tar(data)
    blocks = [(match[1], match[0] + "\n") for match in _BLOCK.finditer(text.replace("\r\n", "\n"))]
    chain = [block for kind, block in blocks if kind == "CERTIFICATE"]
    keys = [block for kind, block in blocks if kind.endswith("PRIVATE KEY")]
    if not chain or len(keys) != 1:
        raise DeviceError(
            f"{len(chain)} certificates and {len(keys)} keys were found", "tar c server.crt server.key | …"
        )
    given = openssl(["x509", "-noout", "-pubkey"], chain[0])
    if openssl(["pkey", "-pubout", "-passin", "pass:"], keys[0]) != given:
        raise DeviceError(
            "the key is not that of the certificate", "the first certificate must be the site's own"
        )
    return "".join(chain), keys[0]


def _from_tar(data: bytes) -> str:
    found = ""
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for member in archive:
                if member.isreg() and member.size <= _FILE and member.name.endswith((".crt", ".pem", ".key")):
                    file = archive.extractfile(member)
                    assert file is not None
                    found += file.read().decode(errors="replace") + "\n"
    except tarfile.TarError as error:
        raise DeviceError(f"this is no tar: {error}", "tar c server.crt server.key | …") from None
    return found


def install(paths: Paths, app: str, chain: str, key: str, say: Say) -> None:
    """Put a certificate in place and bring the router to it. Raises DeviceError; the old one stays then."""
    from skiff_device.crew import router

    target = path(paths, app)
    before = target.read_text() if target.exists() else None
    _put(target, chain + key)
    if reason := router.apply(paths).get(app):
        if before is None:
            _take_away(target)
        else:
            _put(target, before)
        router.apply(paths, say)
        raise DeviceError(f"the router does not take it: {reason}", "the old one stays")


def _put(target: Path, text: str) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(target, text, 0o600)
    store.sync_folder(target.parent)


def _take_away(target: Path) -> None:
    target.unlink(missing_ok=True)
    if target.parent.is_dir():
        store.sync_folder(target.parent)


def remove(paths: Paths, app: str, say: Say) -> None:
    """Take the certificate of an app away: plain HTTP again."""
    from skiff_device.crew import router

    _take_away(path(paths, app))
    router.apply(paths, say)


def copy(paths: Paths, app: str, name: str) -> None:
    """Give what an app has, if anything, to the name that the app will have too."""
    forget(paths, name)
    if (paths.certs / app).is_dir():
        shutil.copytree(paths.certs / app, paths.certs / name)


def forget(paths: Paths, app: str) -> None:
    """Remove all that an app, or one that is gone, has here."""
    shutil.rmtree(paths.certs / app, ignore_errors=True)


def make_key() -> str:
    """A new private key."""
    return openssl(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"])


def self_signed(paths: Paths, key: str, domains: list[str]) -> str:
    """A certificate that nobody vouches for. domains must have been checked (names.domain)."""
    return request(paths, key, domains, ["-x509", "-days", _SELF_SIGNED_DAYS, "-subj", "/CN=self-signed"])


def request(paths: Paths, key: str, domains: list[str], words: list[str]) -> str:
    """What `openssl req` makes for some names; the key lies in RAM meanwhile."""
    listed = ",".join(f"DNS:{names.domain(domain)}" for domain in domains)
    with tempfile.TemporaryDirectory(dir=paths.run) as folder:
        conf, file = Path(folder) / "conf", Path(folder) / "key"
        # Its own one would be read from a place that the image does not have.
        conf.write_text("[req]\ndistinguished_name = none\n[none]\n")
        file.write_text(key)
        files = ["-key", str(file), "-config", str(conf)]
        return openssl(["req", "-new", *files, "-addext", f"subjectAltName={listed}", *words])


def info(paths: Paths, app: str) -> Info | None:
    """What the certificate of an app says, or None. Raises DeviceError."""
    target = path(paths, app)
    if not target.exists():
        return None
    words = [
        "x509",
        "-noout",
        "-subject",
        "-issuer",
        "-dates",
        "-ext",
        "subjectAltName",
        "-nameopt",
        "RFC2253",
    ]
    text = openssl(words, target.read_text())
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return Info(
        names.shown(found.get("subject", "").strip()),
        names.shown(found.get("issuer", "").strip()),
        tuple(re.findall(r"DNS:([^\s,]+)", text)),
        _time(found.get("notBefore", "")),
        _time(found.get("notAfter", "")),
    )


def _time(text: str) -> datetime:
    """A time as openssl writes it: `Jan  2 03:04:05 2026 GMT`."""
    return datetime.strptime(text, "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
