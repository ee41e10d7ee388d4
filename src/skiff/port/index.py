"""Finished images as OCI layouts, and several of them as one index, in a file or for a registry."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from skiff.host import json
from skiff.host.errors import UserError
from skiff.host.files import digest, write_atomic
from skiff.model.port import Platform, Reference

# Name of the one image in the layout of one platform.
ONE = "image"
_INDEX = "application/vnd.oci.image.index.v1+json"
_NAME = "org.opencontainers.image.ref.name"


class Piece(msgspec.Struct, frozen=True, rename="camel"):
    """A manifest, as an index names it."""

    media_type: str
    digest: str
    size: int
    platform: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class Index(msgspec.Struct, frozen=True, rename="camel"):
    """An index of manifests."""

    manifests: tuple[Piece, ...]
    schema_version: int = 2
    media_type: str = _INDEX


class _Blob(msgspec.Struct, frozen=True):
    digest: str


class _Image(msgspec.Struct, frozen=True):
    config: _Blob
    layers: tuple[_Blob, ...]


def single(layout: Path) -> Piece:
    """The one manifest of a layout."""
    (piece,) = json.decode((layout / "index.json").read_bytes(), Index).manifests
    return piece


def size(layout: Path) -> int:
    """Bytes of all that a layout holds."""
    return sum(path.stat().st_size for path in layout.rglob("*") if path.is_file())


def join(layouts: Sequence[tuple[Platform, Path]], target: Path, name: str) -> str:
    """Make one layout of several, in which ``name`` is an index of all platforms; its digest.

    The pieces are shared with those they come from by hard links where the file system allows.
    """
    blobs = target / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    pieces = []
    for platform, layout in layouts:
        for blob in (layout / "blobs" / "sha256").iterdir():
            if not (blobs / blob.name).exists():
                _link(blob, blobs / blob.name)
        one = single(layout)
        pieces.append(Piece(one.media_type, one.digest, one.size, _fields(platform)))
    packed = msgspec.json.encode(_plain(Index(tuple(pieces))), order="deterministic")
    found = digest(packed)
    write_atomic(blobs / found, packed)
    top = Piece(_INDEX, f"sha256:{found}", len(packed), annotations={_NAME: name})
    write_atomic(target / "index.json", msgspec.json.encode(_plain(Index((top,)))))
    write_atomic(target / "oci-layout", b'{"imageLayoutVersion": "1.0.0"}\n')
    if len(layouts) == 1:
        write_atomic(target / "manifest.json", _for_load(target, pieces[0], name))
    return f"sha256:{found}"


def _for_load(layout: Path, piece: Piece, name: str) -> bytes:
    """What `docker load` looks for in an archive, as `docker save` writes it beside OCI's files since 25."""
    image = json.decode((layout / _path(piece.digest)).read_bytes(), _Image)
    entry = {
        "Config": _path(image.config.digest),
        "RepoTags": [name],
        "Layers": [_path(layer.digest) for layer in image.layers],
    }
    return msgspec.json.encode([entry])


def _path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def pack(layout: Path, file: Path) -> None:
    """A layout as one tar, the same bytes for the same content; it is there whole or not at all."""
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with tarfile.open(partial, "w") as tar:
            for path in sorted(layout.rglob("*")):
                info = tar.gettarinfo(path, str(path.relative_to(layout)))
                info.uid = info.gid = info.mtime = 0
                info.uname = info.gname = ""
                info.mode = 0o755 if path.is_dir() else 0o644
                # Two names of one file here are two files there.
                info.type, info.linkname = (tarfile.DIRTYPE if path.is_dir() else tarfile.REGTYPE), ""
                if path.is_dir():
                    tar.addfile(info)
                else:
                    info.size = path.stat().st_size
                    with path.open("rb") as content:
                        tar.addfile(info, content)
        partial.replace(file)
    except FileNotFoundError as error:
        raise UserError(f"{file}: cannot be written: the folder is not there") from error
    finally:
        partial.unlink(missing_ok=True)


def local_names(tag: Reference, platforms: Sequence[Platform]) -> list[str]:
    """Names for images in an engine, which holds one CPU under one name: with several, the CPU is added."""
    if len(platforms) == 1:
        return [tag.short]
    return [f"{tag.short}-{platform.arch}{platform.variant}" for platform in platforms]


def _fields(platform: Platform) -> dict[str, str]:
    found = {"os": platform.os, "architecture": platform.arch, "variant": platform.variant}
    # Written out for arm64, as the official images have it.
    found["variant"] = "v8" if platform.arch == "arm64" and not platform.variant else platform.variant
    return {name: value for name, value in found.items() if value}


def _plain(index: Index) -> dict[str, object]:
    """Without empty fields: OCI's schema wants them absent."""
    plain = msgspec.to_builtins(index)
    plain["manifests"] = [
        {name: value for name, value in piece.items() if value is not None} for piece in plain["manifests"]
    ]
    return dict(plain)


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
