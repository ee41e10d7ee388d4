"""Names of images, read as Docker reads them: ``debian`` is ``docker.io/library/debian:latest``."""

from __future__ import annotations

import re

from skiff.host.errors import UserError
from skiff.model.port import DIGEST, Reference

HUB = "docker.io"
_OTHER_NAMES_OF_HUB = ("index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")
_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_REGISTRY = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def parse_reference(text: str) -> Reference:
    """The image of that name; without tag and digest, of the tag ``latest``. Raises UserError."""
    rest, at, digest = text.strip().partition("@")
    if at and not DIGEST.fullmatch(digest):
        raise _wrong(text, "the digest is not one")
    head, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        head, tag = rest, ""
    elif not _TAG.fullmatch(tag):
        raise _wrong(text, "the tag is not one")
    registry, slash, repository = head.partition("/")
    if not slash or not (
        set(registry) & set(".:") or registry == "localhost" or registry.lower() != registry
    ):
        registry, repository = HUB, head
    if registry in _OTHER_NAMES_OF_HUB:
        registry = HUB
    if registry == HUB and "/" not in repository:
        repository = f"library/{repository}"
    if not _REGISTRY.fullmatch(registry) or not all(_PATH.fullmatch(part) for part in repository.split("/")):
        raise _wrong(text, "lower-case letters, digits, '.', '_' and '-' between slashes")
    return Reference(registry, repository, tag or ("" if digest else "latest"), digest)


def _wrong(text: str, hint: str) -> UserError:
    return UserError(f"{text!r}: not the name of an image", hint=hint)
