"""Typed values to and from JSON, paths included."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def encode(value: object) -> bytes:
    """A value as indented JSON with sorted keys, ending in a line feed."""
    packed = msgspec.json.encode(value, enc_hook=_plain, order="deterministic")
    return msgspec.json.format(packed, indent=2) + b"\n"


def decode(data: bytes, kind: type[T]) -> T:
    """A value from JSON. Raises msgspec.DecodeError when it is not of that type."""
    return msgspec.json.decode(data, type=kind, dec_hook=_typed)


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"no JSON for {type(value).__name__}")


def _typed(kind: type[Any], value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise TypeError(f"no {kind.__name__} in JSON")
