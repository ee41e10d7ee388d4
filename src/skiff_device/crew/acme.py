"""Certificates by ACME (RFC 8555), as Let's Encrypt gives them: acme-tiny asks, the router answers the proof.

The proof is a file under /.well-known/acme-challenge/ on port 80 (HTTP-01), which lies in RAM.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from skiff_device.common import run
from skiff_device.common.errors import DeviceError
from skiff_device.common.files import write_atomically
from skiff_device.crew import certs, names, router, store
from skiff_device.crew import release as releases
from skiff_device.crew.paths import Paths

Say = Callable[[str], None]
SECTION = "letsencrypt"
SERVERS = {
    "production": "https://acme-v02.api.letsencrypt.org/directory",
    "staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}
_CLIENT = "usr/lib/python3/dist-packages/acme_tiny.py"
_SERVER = re.compile(r"https://[A-Za-z0-9.:\[\]-]{1,250}(?:/[A-Za-z0-9._~/-]{0,250})?")
# An authority may take its time to look at the proof. In seconds.
_LONGEST = 600.0
# A sentence with a name or an address in it, in characters.
_LONGEST_REASON = 300


def server(text: str) -> str:
    """Address of an authority's directory, or a name of one. Raises DeviceError."""
    if text in SERVERS:
        return SERVERS[text]
    if not _SERVER.fullmatch(text):
        raise DeviceError(
            f"{names.shown(text)!r} is no address of an authority", "production, staging or https://…"
        )
    return text


def server_of(paths: Paths, app: str) -> str:
    """The authority of an app: its own setting, that of all apps, or Let's Encrypt."""
    for whose in (app, None):
        if found := store.section(paths, whose, SECTION).get("server"):
            return server(str(found))
    return SERVERS["production"]


def domains(paths: Paths, app: str) -> list[str]:
    """Names that a certificate is to be for. Raises DeviceError where there can be none."""
    found = [str(name) for name in store.section(paths, app, "domains").get("names", [])]
    if not found:
        raise DeviceError(f"{app} has no domain that others know", f"domains:set {app} DOMAIN")
    if wild := [name for name in found if "*" in name]:
        raise DeviceError(f"this proof is not for wildcards: {wild[0]}", f"domains:remove {app} '{wild[0]}'")
    release = releases.current(paths, app)
    published = router.targets(paths, app, release.exposed) if release is not None else []
    if not any(scheme == "http" and port == 80 for scheme, port, _ in published):
        raise DeviceError(f"{app} does not answer on port 80", f"push it; ports:add {app} http:80:PORT")
    return found


def obtain(paths: Paths, app: str, say: Say) -> None:
    """Get a certificate for an app and put it in place. Raises DeviceError; nothing is changed then."""
    wanted = domains(paths, app)
    say(f"asking {server_of(paths, app)} for {' '.join(wanted)}")
    key = certs.make_key()
    chain = _ask(paths, app, key, wanted)
    certs.install(paths, app, *certs.pair(f"{chain}\n{key}".encode()), say)


def _ask(paths: Paths, app: str, key: str, wanted: list[str]) -> str:
    proofs = paths.run / "router/acme"
    proofs.mkdir(parents=True, exist_ok=True)
    request = certs.request(paths, key, wanted, ["-subj", "/"])
    with store.alone(paths, "acme"), tempfile.TemporaryDirectory(dir=paths.run) as folder:
        csr = Path(folder) / "request"
        csr.write_text(request)
        client = ["python3", str(paths.root / _CLIENT), "--quiet", "--disable-check"]
        files = ["--account-key", str(_account(paths)), "--csr", str(csr), "--acme-dir", str(proofs)]
        done = run.capture(
            [*client, *files, f"--directory-url={server_of(paths, app)}"],
            timeout=_LONGEST,
            env=_environment(paths),
        )
        for left in proofs.iterdir():
            left.unlink(missing_ok=True)
    if done.status:
        raise DeviceError(f"no certificate: {_reason(done.err)}", "does the domain lead here, by port 80?")
    return done.out.decode(errors="replace")


def _environment(paths: Paths) -> dict[str, str]:
    """What the client's Python and openssl look for elsewhere than the image has it."""
    # The image has no openssl.cnf, without which `openssl req` does not even read a request.
    found = {"OPENSSL_CONF": os.devnull}
    if "SSL_CERT_FILE" not in os.environ:
        # All authorities in one file.
        found["SSL_CERT_FILE"] = str(paths.root / "etc/ssl/certs/ca-certificates.crt")
    return found


def _account(paths: Paths) -> Path:
    """The key of this device's account; acme-tiny wants an RSA one."""
    key = paths.certs / "account.key"
    if not key.exists():
        key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = certs.openssl(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
        write_atomically(key, text, 0o600)
        store.sync_folder(key.parent)
    return key


def _reason(text: str) -> str:
    """What the authority said, on one line, of a traceback of acme-tiny's."""
    if match := re.search(r"[\"']detail[\"']: [\"'](.{1,300}?)[\"'][,}]", text):
        return names.shown(match[1], _LONGEST_REASON)
    lines = [line for line in text.splitlines() if line.strip()]
    return names.shown((lines or ["no reason given"])[-1], _LONGEST_REASON)


def enabled(paths: Paths) -> list[str]:
    """Apps whose certificates are renewed."""
    return [app for app, section in store.sections(paths, SECTION).items() if section.get("enabled")]


def is_due(paths: Paths, app: str, now: datetime | None = None) -> bool:
    """Whether an app needs a new one: less than a third of its time is left, or its names are others."""
    found = certs.info(paths, app)
    if found is None or set(found.domains) != set(domains(paths, app)):
        return True
    return (found.ends - (now or datetime.now(UTC))) * 3 < found.ends - found.begins


def switch(paths: Paths, app: str, on: bool) -> bool:
    """Set whether the certificate of an app is renewed, and its proofs answered; returns what it was."""
    before = bool(store.section(paths, app, SECTION).get("enabled"))

    def change(section: store.Section) -> None:
        section.pop("enabled", None)
        if on:
            section["enabled"] = True

    store.change(paths, app, SECTION, change)
    router.apply(paths)
    return before
