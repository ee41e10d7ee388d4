"""Public keys as lines of authorized_keys (sshd(8)) have them."""

from __future__ import annotations

import base64
import binascii
import re

_TYPE = re.compile(
    r"ssh-(ed25519|rsa|dss)|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com"
)
# Words before the key, up to a space outside quotes.
_OPTIONS = re.compile(r'(?:[^\s"]|"(?:\\.|[^"\\])*")+')


def split(text: str) -> tuple[str, str, str]:
    """Options, `type base64`, and comment; no key at all gives an empty one."""
    options = ""
    words = text.split(None, 2)
    if not _TYPE.fullmatch(words[0]):
        match = _OPTIONS.match(text)
        if match is None:
            return "", "", ""
        options = match.group()
        words = text[match.end() :].split(None, 2)
    if len(words) < 2 or not _TYPE.fullmatch(words[0]) or not _is_key(words[0], words[1]):
        return "", "", ""
    comment = "".join(c for c in (words[2] if len(words) > 2 else "") if c.isprintable())
    return options, f"{words[0]} {words[1]}", comment


def _is_key(kind: str, blob: str) -> bool:
    """Whether the base64 part holds a key of that kind (RFC 4253, section 6.6: it begins with the name)."""
    try:
        data = base64.b64decode(blob, validate=True)
    except (binascii.Error, ValueError):
        return False
    return data[: 4 + len(kind)] == len(kind).to_bytes(4, "big") + kind.encode()
