"""Images between OCI layouts and the archives that engines load and save, their configuration as it is.

skopeo alone would leave out what only Docker's form of a configuration has: HEALTHCHECK, ONBUILD and SHELL.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import msgspec

from skiff.host.errors import UserError
from skiff.host.files import digest
from skiff.host.run import CommandError, run
from skiff.port.index import ONE


def from_layout(layout: Path, tag: str, archive: Path) -> None:
    """Write the one image of an OCI layout as an archive. Raises UserError when it is no such layout."""
    try:
        manifest = _manifest(layout)[1]
        config = _blob(layout, manifest["config"]["digest"])
        layers = [_blob(layout, layer["digest"]) for layer in manifest["layers"]]
        listed = [{"Config": config.name, "RepoTags": [tag], "Layers": [layer.name for layer in layers]}]
        with tarfile.open(archive, "w") as tar:
            _add(tar, "manifest.json", msgspec.json.encode(listed))
            # Engines unpack layers that are packed; the same layer may be there twice.
            for blob in dict.fromkeys((config, *layers)):
                tar.add(blob, blob.name)
    except (FileNotFoundError, KeyError, IndexError, TypeError, msgspec.DecodeError) as error:
        raise UserError(f"{layout}: not an OCI layout with one image: {error}") from error


def to_layout(archive: Path, layout: Path) -> None:
    """Write the one image of an archive as an OCI layout, its layers packed. Raises UserError."""
    try:
        run(["skopeo", "copy", "--quiet", f"docker-archive:{archive}", f"oci:{layout}:{ONE}"], input=b"")
    except CommandError as error:
        if "no space left" in error.output:
            hint = "free some space and run it again: what was built is kept"
            raise UserError("no space left on disk", hint=hint) from error
        raise
    _put_config(layout, _config(archive))


def _config(archive: Path) -> bytes:
    with tarfile.open(archive) as tar:
        listed = msgspec.json.decode(_read(tar, "manifest.json"))
        return _read(tar, listed[0]["Config"])


def _put_config(layout: Path, config: bytes) -> None:
    """Put the configuration in that the image had, in the place of the one that skopeo made of it."""
    index, manifest = _manifest(layout)
    entry = index["manifests"][0]
    old = [_blob(layout, entry["digest"]), _blob(layout, manifest["config"]["digest"])]
    manifest["config"] |= {"digest": f"sha256:{digest(config)}", "size": len(config)}
    packed = msgspec.json.encode(manifest)
    entry |= {"digest": f"sha256:{digest(packed)}", "size": len(packed)}
    for blob in old:
        blob.unlink()
    for data in (config, packed):
        _blob(layout, f"sha256:{digest(data)}").write_bytes(data)
    (layout / "index.json").write_bytes(msgspec.json.encode(index))


def _manifest(layout: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The index of a layout, and the manifest of its one image."""
    index = msgspec.json.decode((layout / "index.json").read_bytes())
    return index, msgspec.json.decode(_blob(layout, index["manifests"][0]["digest"]).read_bytes())


def _blob(layout: Path, name: str) -> Path:
    kind, _, value = name.partition(":")
    return layout / "blobs" / kind / value


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise UserError(f"{name} is no file of the archive")
    return file.read()
