"""What registries have: manifests and configurations, asked by skopeo, which knows the user's log-ins.

Every answer is checked against its digest. What a digest names never changes and is kept; what a tag names is
asked again after a few minutes.
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from skiff.host.errors import UserError
from skiff.host.files import digest, write_atomic
from skiff.host.run import CommandError, require, run
from skiff.model.oci import ImageConfig
from skiff.model.port import Platform, Reference

# Seconds for which it is believed what a tag names.
TAG_AGE = 600.0
# Seconds for one question.
_PATIENCE = 60.0
_ABSENT = re.compile(
    r"manifest unknown|name unknown|not found|status code 404|access to the resource is denied|unauthorized",
    re.IGNORECASE,
)


class _PlatformEntry(msgspec.Struct, frozen=True):
    os: str = "linux"
    architecture: str = ""
    variant: str = ""


class Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    """A piece of content as a manifest names it."""

    digest: str
    size: int = 0
    media_type: str = ""
    platform: _PlatformEntry | None = None


class _Manifest(msgspec.Struct, frozen=True):
    """An index (it has manifests), or a manifest of one image (it has a config)."""

    manifests: tuple[Descriptor, ...] = ()
    config: Descriptor | None = None


# Made once, before there are threads: several that make a type's decoder at the same time crash msgspec.
CONFIG = msgspec.json.Decoder(ImageConfig)
_MANIFESTS = msgspec.json.Decoder(_Manifest)


class Registry:
    """Registries, as skopeo asks them. ``insecure`` are hosts that may be asked without TLS."""

    def __init__(self, cache: Path, insecure: Sequence[str] = ()) -> None:
        self.cache = cache / "port" / "registry"
        self.insecure = frozenset(insecure)
        self._manifests: dict[Reference, dict[Platform, str] | None] = {}

    def manifests(self, reference: Reference) -> dict[Platform, str] | None:
        """The digest of the image for each platform it is there for; None if there is no such image.

        Raises UserError when the registry cannot be asked, or does not answer what the digest promised.
        """
        if reference not in self._manifests:
            self._manifests[reference] = self._ask(reference)
        return self._manifests[reference]

    def config(self, reference: Reference, platform: Platform) -> ImageConfig | None:
        """The configuration of the image for exactly this platform; None if there is none."""
        found = (self.manifests(reference) or {}).get(platform)
        if found is None:
            return None
        return CONFIG.decode(self._config(_pinned(reference, found), found))

    def copy(self, reference: Reference, manifest: str, target: str) -> None:
        """Copy one image, known by its digest, to where skopeo can write. Raises UserError."""
        pinned = _pinned(reference, manifest)
        secure = self._tls("src-tls-verify", reference.registry)
        try:
            run(["skopeo", "copy", "--quiet", *secure, f"docker://{pinned}", target], input=b"")
        except CommandError as error:
            raise _failed(f"{reference.short}: cannot be fetched", error) from error

    def push(self, layout: Path, name: str, reference: Reference) -> None:
        """Push an index of an OCI layout with all it names; the tag is set when everything is there."""
        secure = self._tls("dest-tls-verify", reference.registry)
        words = [
            "skopeo",
            "copy",
            "--quiet",
            "--all",
            *secure,
            f"oci:{layout}:{name}",
            f"docker://{reference}",
        ]
        try:
            run(words, input=b"")
        except CommandError as error:
            raise _failed(f"{reference}: cannot be pushed", error) from error

    def _ask(self, reference: Reference) -> dict[Platform, str] | None:
        raw = self._raw(reference)
        if raw is None:
            return None
        own = f"sha256:{digest(raw)}"
        try:
            manifest = _MANIFESTS.decode(raw)
        except msgspec.DecodeError as error:
            raise UserError(f"{reference.short}: its manifest cannot be read: {error}") from error
        if manifest.config is not None:
            config = CONFIG.decode(self._config(_pinned(reference, own), own))
            return {Platform.normal(config.os, config.architecture, config.variant): own}
        return {
            Platform.normal(
                entry.platform.os, entry.platform.architecture, entry.platform.variant
            ): entry.digest
            # Entries for no platform are signatures and the like.
            for entry in reversed(manifest.manifests)
            if entry.platform is not None and entry.platform.architecture not in ("", "unknown")
        }

    def _raw(self, reference: Reference) -> bytes | None:
        """The manifest as the registry has it."""
        if reference.digest:
            return self._kept(reference.digest) or self._fetch_raw(reference)
        stamp = self.cache / "tags" / digest(str(reference))
        if stamp.exists() and time.time() - stamp.stat().st_mtime < TAG_AGE:
            kept = self._kept(stamp.read_text())
            if kept is not None:
                return kept
        raw = self._fetch_raw(reference)
        if raw is not None:
            write_atomic(stamp, f"sha256:{digest(raw)}".encode())
            stamp.touch()
        return raw

    def _fetch_raw(self, reference: Reference) -> bytes | None:
        raw = self._inspect(reference, "--raw")
        if raw is None:
            return None
        found = f"sha256:{digest(raw)}"
        if reference.digest.startswith("sha256:") and found != reference.digest:
            raise UserError(
                f"{reference.short}: the registry answered with another image: {found}",
                hint="nothing of it was used; ask the registry's owner, or another registry",
            )
        write_atomic(self._file(found), raw)
        return raw

    def _config(self, reference: Reference, manifest: str) -> bytes:
        """The configuration that a manifest names; kept under the manifest's digest."""
        file = self._file(manifest).with_suffix(".config")
        if file.exists():
            return file.read_bytes()
        raw = self._inspect(reference, "--config", "--raw")
        if raw is None:
            raise UserError(f"{reference}: the registry names it and does not have it")
        write_atomic(file, raw)
        return raw

    def _inspect(self, reference: Reference, *flags: str) -> bytes | None:
        require("skopeo")
        secure = self._tls("tls-verify", reference.registry)
        words = ["skopeo", "inspect", *flags, *secure, f"docker://{_plain(reference)}"]
        try:
            return run(words, input=b"", timeout=_PATIENCE).stdout
        except CommandError as error:
            if _ABSENT.search(error.output):
                return None
            raise _failed(f"{reference.registry} cannot be asked for {reference.short}", error) from error

    def _kept(self, name: str) -> bytes | None:
        file = self._file(name)
        data = file.read_bytes() if file.exists() else None
        return data if data is not None and f"sha256:{digest(data)}" == name else None

    def _file(self, name: str) -> Path:
        return self.cache / "manifests" / name.replace(":", "-")

    def _tls(self, flag: str, registry: str) -> tuple[str, ...]:
        plain = registry in self.insecure or _is_loopback(registry)
        return (f"--{flag}=false",) if plain else ()


def _plain(reference: Reference) -> Reference:
    """With the digest alone where there is one: skopeo takes no name that has a tag too."""
    return msgspec.structs.replace(reference, tag="") if reference.digest else reference


def _pinned(reference: Reference, manifest: str) -> Reference:
    return msgspec.structs.replace(reference, tag="", digest=manifest)


def _is_loopback(registry: str) -> bool:
    """Whether a registry is this machine: no other hears what goes there without TLS."""
    host = registry.rpartition(":")[0] if re.search(r":\d+$", registry) else registry
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _failed(what: str, error: CommandError) -> UserError:
    text = error.output.strip()
    said = re.findall(r'msg="((?:[^"\\]|\\.)*)"', text) or text.splitlines()[-1:] or ["it says nothing"]
    reason = str(said[-1]).replace('\\"', '"').partition(": pinging container registry ")[2] or said[-1]
    if "no space left" in text:
        return UserError(f"{what}: the disk is full", hint="free some space; what is done already is kept")
    if "HTTP response to HTTPS client" in text:
        hint = "it speaks plain HTTP: --insecure-registry HOST allows that"
    elif _ABSENT.search(text):
        hint = "check the name, and that you are logged in (`docker login` or `skopeo login`)"
    else:
        hint = "check the network and the registry; what is done already is kept"
    return UserError(f"{what}: {reason}", hint=hint)
