"""What crew itself asks of the cluster's registry, besides what engines push to it and pull from it.

Reference: OCI Distribution Specification 1.1. Manifests are in Docker's forms, as the engine pushes them.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import urlsplit

from skiff_device.common.errors import DeviceError
from skiff_device.crew import registry
from skiff_device.crew.engine_api import CHUNK, Refused

_TYPE = "application/vnd.docker.distribution.manifest"
_MANIFESTS = f"{_TYPE}.v2+json, {_TYPE}.list.v2+json, application/vnd.oci.image.manifest.v1+json"
# In seconds, without a byte.
_SILENCE = 120.0


class Manifest(NamedTuple):
    """An image, as the registry has it."""

    digest: str
    kind: str
    data: bytes


def find(repository: str, reference: str) -> Manifest | None:
    """The image of a tag or a digest, or None."""
    try:
        with _open(
            "GET", f"/v2/{repository}/manifests/{reference}", headers={"Accept": _MANIFESTS}
        ) as answer:
            kind = str(answer.headers.get_content_type())
            return Manifest(str(answer.headers["Docker-Content-Digest"]), kind, answer.read())
    except Refused as error:
        if error.status == 404:
            return None
        raise


def put_list(repository: str, tag: str, images: list[Manifest]) -> str:
    """Have one name for images that are there for several CPUs; its digest."""
    parts = [
        {
            "mediaType": one.kind, "size": len(one.data), "digest": one.digest,
            "platform": _platform(repository, one),
        }
        for one in images
    ]  # fmt: skip
    kind = f"{_TYPE}.list.v2+json"
    data = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": parts}).encode()
    with _open("PUT", f"/v2/{repository}/manifests/{tag}", data, {"Content-Type": kind}) as answer:
        return str(answer.headers["Docker-Content-Digest"])


def _platform(repository: str, image: Manifest) -> dict[str, str]:
    """What an image is for, as its configuration says."""
    config = json.loads(image.data)["config"]["digest"]
    with _open("GET", f"/v2/{repository}/blobs/{config}") as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return {key: str(found[key]) for key in ("architecture", "os", "variant") if found.get(key)}


def put_file(repository: str, path: Path) -> str:
    """Keep what a file holds; the digest by which `fetch_file` finds it. Packed, for disk and network."""
    # Beside the file there is room for another one, which in RAM there may not be.
    with tempfile.TemporaryFile(dir=path.parent) as packed:
        # Without name and date: the same content is kept once.
        with path.open("rb") as file, gzip.GzipFile("", "wb", 6, packed, 0) as writer:
            shutil.copyfileobj(file, writer)
        size = packed.tell()
        packed.seek(0)
        digest = f"sha256:{hashlib.file_digest(packed, 'sha256').hexdigest()}"
        packed.seek(0)
        with _open("POST", f"/v2/{repository}/blobs/uploads/") as answer:
            place = urlsplit(str(answer.headers["Location"]))
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        with _open("PUT", f"{place.path}?{place.query}&digest={digest}", packed, headers):
            return digest


def fetch_file(repository: str, digest: str, file: BinaryIO) -> None:
    """Write what `put_file` kept into a file. Raises DeviceError when it is not the same."""
    with tempfile.TemporaryFile() as packed:
        seen = hashlib.sha256()
        with _open("GET", f"/v2/{repository}/blobs/{digest}") as answer:
            while data := answer.read(CHUNK):
                seen.update(data)
                packed.write(data)
        if f"sha256:{seen.hexdigest()}" != digest:
            raise DeviceError("what came from the cluster's registry is damaged", "push again")
        packed.seek(0)
        with gzip.GzipFile(fileobj=packed) as reader:
            shutil.copyfileobj(reader, file)


@contextmanager
def _open(
    method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> Iterator[HTTPResponse]:
    """An answer that is read by the caller. Raises Refused, and DeviceError when there is none."""
    connection = HTTPConnection(registry.ADDRESS, timeout=_SILENCE)
    try:
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
        except (OSError, HTTPException) as error:
            raise DeviceError(
                f"the cluster's registry does not answer: {error or type(error).__name__}", "cluster:registry"
            ) from None
        with answer:
            if answer.status >= 400:
                said = answer.read(CHUNK).decode(errors="replace")
                raise Refused(answer.status, f"the cluster's registry: {said or answer.reason}")
            yield answer
    finally:
        connection.close()
