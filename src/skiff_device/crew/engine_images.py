"""What the container engine has of images: to find, fetch, name, take in, give out and remove them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO
from urllib.parse import quote

from skiff_device.common.errors import DeviceError
from skiff_device.crew.engine_api import CHUNK, Api, Refused, records


class Images(Api):
    """The part of the engine that deals with images."""

    def image(self, reference: str) -> dict[str, Any] | None:
        """An image that is on this device, or None."""
        return self.found(f"/images/{quote(reference, safe='/:@')}/json")

    def images(self, label: str = "") -> list[dict[str, Any]]:
        """Images, of a label (`name` or `name=value`) where one is given."""
        return list(self.ask("GET", "/images/json", {"filters": {"label": [label]} if label else None}) or [])

    def tag(self, reference: str, name: str) -> None:
        """Give an image another name, `repository:tag`."""
        repository, _, tag = name.rpartition(":")
        self.ask("POST", f"/images/{quote(reference, safe='/:@')}/tag", {"repo": repository, "tag": tag})

    def untag(self, name: str) -> bool:
        """Take a name away, and the image with its last one; False when it is not there or in use."""
        try:
            self.ask("DELETE", f"/images/{quote(name, safe='/:@')}")
        except Refused:
            return False
        return True

    def pull(self, reference: str, say: Any) -> None:
        """Fetch an image from its registry."""
        whole, _, digest = reference.partition("@")
        name, colon, tag = whole.rpartition(":")
        if not colon or "/" in tag:
            name, tag = whole, "latest"
        query = {"fromImage": name, "tag": digest or tag}
        with self.open("POST", "/images/create", query, timeout=None) as answer:
            shown = ""
            for record in records(answer):
                if error := record.get("error"):
                    raise DeviceError(f"{reference} cannot be pulled: {error}", "check name and network")
                text = str(record.get("status", ""))
                if text and text != shown and "progress" not in record:
                    say(text)
                    shown = text

    def push(self, reference: str) -> str:
        """Hand an image to its registry; the digest that it has there. Raises DeviceError."""
        digest = ""
        # Who does not log in says so, with an empty object (base64).
        headers = {"X-Registry-Auth": "e30="}
        name, _, tag = reference.rpartition(":")
        path = f"/images/{quote(name, safe='/:@')}/push"
        with self.open("POST", path, {"tag": tag}, None, headers, None) as answer:
            for record in records(answer):
                if error := record.get("error"):
                    raise DeviceError(
                        f"{reference} cannot be handed to the registry: {error}", "cluster:registry"
                    )
                digest = str((record.get("aux") or {}).get("Digest", "")) or digest
        return digest

    def load(self, stream: BinaryIO | Iterable[bytes]) -> str:
        """Take images from an archive that `save` wrote; what the engine says of it."""
        headers = {"Content-Type": "application/x-tar"}
        said = ""
        with self.open("POST", "/images/load", {"quiet": 1}, stream, headers, None) as answer:
            for record in records(answer):
                if error := record.get("error"):
                    raise DeviceError(f"the images cannot be taken: {error}")
                said += str(record.get("stream", ""))
        return said.strip()

    def save(self, *references: str) -> Iterator[bytes]:
        """An archive of images, in pieces."""
        with self.open("GET", "/images/get", {"names": ",".join(references)}, timeout=None) as answer:
            while data := answer.read(CHUNK):
                yield data

    def import_tar(self, stream: BinaryIO, reference: str, cpu: str = "") -> str:
        """Make an image of a tree of files, for this device's CPU or another one; returns its id."""
        name, colon, tag = reference.rpartition(":")
        if not colon or "/" in tag:
            name, tag = reference, "latest"
        query = {"fromSrc": "-", "repo": name, "tag": tag, "platform": cpu and f"linux/{cpu}"}
        with self.open("POST", "/images/create", query, stream, timeout=None) as answer:
            last = ""
            for record in records(answer):
                if error := record.get("error"):
                    raise DeviceError(f"{reference} cannot be made: {error}")
                last = str(record.get("status", "")) or last
        return last

    def prune_images(self, label: str = "") -> int:
        """Remove images that have no name and no container, of a label if one is given; bytes that went."""
        filters = {"dangling": ["true"], **({"label": [label]} if label else {})}
        found = self.ask("POST", "/images/prune", {"filters": filters})
        if isinstance(found, list):
            return sum(int(one.get("Size", 0)) for one in found)
        return int((found or {}).get("SpaceReclaimed", 0))

    def prune_build_cache(self, keep_bytes: int) -> int:
        """Shrink the build cache to a size; bytes that became free. Podman has none of its own."""
        try:
            found = self.ask("POST", "/build/prune", {"keep-storage": keep_bytes, "all": 1})
        except Refused as error:
            if error.status in (404, 405):
                return 0
            raise
        return int((found or {}).get("SpaceReclaimed", 0))
