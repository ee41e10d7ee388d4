"""From a built image to a proven one: every program is for its CPU, and the cache has it as OCI has it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from skiff.host import json
from skiff.host.files import write_atomic
from skiff.host.lock import waiting
from skiff.model.port import Action, Node
from skiff.port import elfcheck
from skiff.port.archive import to_layout
from skiff.port.build import Builder
from skiff.port.index import ONE


class Proven(msgspec.Struct, frozen=True):
    """What is remembered of an image: what was allowed when it was looked at, and what was seen."""

    allowed: tuple[str, ...]
    files: int


class Shelf:
    """Images that are ready, each an OCI layout in the cache, by the key of its node."""

    def __init__(self, cache: Path) -> None:
        self.folder = cache / "port" / "results"

    def layout(self, key: str) -> Path:
        """Where the layout of a node lies, or would."""
        return self.folder / key / "oci"

    def known(self, key: str, allowed: Sequence[str]) -> Proven | None:
        """What was seen when this image was looked at with the same patterns; None if it never was."""
        try:
            found = json.decode((self.folder / key / "proof.json").read_bytes(), Proven)
        except (OSError, msgspec.DecodeError):
            return None
        return found if found.allowed == tuple(allowed) else None

    def put(self, node: Node, builder: Builder, allowed: Sequence[str]) -> Proven:
        """Look at a node's image, and lay it on the shelf. Raises UserError for programs of another CPU."""
        key = builder.keys[node.id]
        self.folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".result-", dir=self.folder))
        try:
            proven = self._fill(node, builder, allowed, scratch)
            write_atomic(scratch / "proof.json", json.encode(proven))
            scratch.chmod(0o755)
            with waiting(self.folder / ".lock"):
                # What another run laid there meanwhile is the same, and is being read from there.
                if there := self.known(key, allowed):
                    return there
                shutil.rmtree(self.folder / key, ignore_errors=True)
                scratch.rename(self.folder / key)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return proven

    def _fill(self, node: Node, builder: Builder, allowed: Sequence[str], scratch: Path) -> Proven:
        arch = node.platform.debian
        manifest = builder.images.manifest(node.reference, node.found or node.platform)
        if node.action is Action.REUSE and manifest:
            # As it is in its registry, so that its digest stays.
            builder.images.registry.copy(node.reference, manifest, f"oci:{scratch / 'oci'}:{ONE}")
            proof = elfcheck.check_layout(scratch / "oci", arch, allowed)
        else:
            archive = scratch / "image.tar"
            builder.engine(node).save(builder.tags[node.id], archive)
            proof = elfcheck.check(archive, arch, allowed)
            proof.require(f"{node.reference.short} for {node.platform}", arch)
            to_layout(archive, scratch / "oci")
            archive.unlink()
        proof.require(f"{node.reference.short} for {node.platform}", arch)
        return Proven(tuple(allowed), proof.files)
