"""Answers of the world to planning: registries first, then this machine's engine, then distributions."""

from __future__ import annotations

import json
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from threading import Lock

import msgspec

from skiff.host.errors import UserError
from skiff.host.files import digest, write_atomic
from skiff.model.oci import ImageConfig
from skiff.model.port import Platform, Reference
from skiff.port.base import Bases
from skiff.port.engine import Engine, Inspected
from skiff.port.registry import CONFIG, Registry


class Images:
    """`Lookup` over what there is; several threads may ask.

    A registry out of reach is told once, and then counts as empty.
    """

    def __init__(
        self,
        registry: Registry,
        bases: Bases,
        cache: Path,
        warn: Callable[[str], None],
        engine: Engine | None = None,
    ) -> None:
        self.registry = registry
        self.bases = bases
        self.engine = engine
        self._configs = cache / "port" / "configs"
        self._warn = warn
        # Registries that do not answer, and those that do.
        self._silent: set[str] = set()
        self._reached: set[str] = set()
        self._first: defaultdict[str, Lock] = defaultdict(Lock)
        self._lock = Lock()
        self._local: dict[str, Inspected | None] = {}
        self._names: frozenset[str] | None = None

    def platforms(self, reference: Reference) -> tuple[Platform, ...] | None:
        """The platforms that the image is there for; None if there is no such image."""
        remote = self._remote(reference)
        own = self.local(reference)
        if remote is None and own is None:
            return None
        there = set(remote or ())
        if own is not None:
            there.add(_platform(own))
        return tuple(sorted(there))

    def config(self, reference: Reference, platform: Platform) -> ImageConfig | None:
        """The image's configuration for a platform that it is there for; None if it is not."""
        if platform in (self._remote(reference) or {}):
            return self.registry.config(reference, platform)
        own = self.local(reference)
        if own is None or _platform(own) != platform:
            return None
        return CONFIG.decode(self._saved_config(own))

    def can_synthesise(self, reference: Reference, platform: Platform) -> bool:
        """Whether the image is a base that can be made of a distribution's packages for the platform."""
        return self.bases.find(reference, platform) is not None

    def archive_cpus(self, reference: Reference, platform: Platform) -> tuple[str, ...]:
        """The CPUs that a base's archive has, by Debian's names; none for other images, or without answer."""
        return self.bases.cpus(reference, platform)

    def manifest(self, reference: Reference, platform: Platform) -> str:
        """Digest of the image in its registry; empty when only this machine's engine has it."""
        found = (self._remote(reference) or {}).get(platform)
        # A digest that is of another CPU's image: the plan then took what the tag names.
        return found or (self._remote(tagged(reference)) or {}).get(platform, "")

    def local(self, reference: Reference) -> Inspected | None:
        """The image as this machine's engine has it; None without one."""
        name = reference.short
        if self.engine is None or reference.digest:
            return None
        if name not in self._local:
            self._local[name] = self.engine.inspect(name) if name in self._known(self.engine) else None
        return self._local[name]

    def _known(self, engine: Engine) -> frozenset[str]:
        """All names that the engine has, asked for once."""
        with self._lock:
            if self._names is None:
                self._names = frozenset(
                    name.removeprefix("docker.io/").removeprefix("library/") for name in engine.names()
                )
            return self._names

    def _saved_config(self, image: Inspected) -> bytes:
        """The whole configuration, which the engine tells only by saving the image; kept by its id."""
        file = self._configs / digest(image.id)
        if not file.exists():
            assert self.engine is not None
            with tempfile.TemporaryDirectory(prefix="skiff-") as folder:
                saved = Path(folder) / "image.tar"
                self.engine.save(image.id, saved)
                with tarfile.open(saved) as tar:
                    manifest = json.load(tar.extractfile("manifest.json") or _none(saved))
                    config = tar.extractfile(manifest[0]["Config"]) or _none(saved)
                    write_atomic(file, config.read())
        return file.read_bytes()

    def _remote(self, reference: Reference) -> dict[Platform, str] | None:
        name = reference.registry
        # The first question is asked alone: a registry that does not answer is waited for by one thread.
        with self._first[name]:
            if name not in self._reached | self._silent:
                return self._ask(reference)
        return None if name in self._silent else self._ask(reference)

    def _ask(self, reference: Reference) -> dict[Platform, str] | None:
        try:
            found = self.registry.manifests(reference)
        except UserError as error:
            if reference.digest and "another image" in error.message:
                raise
            with self._lock:
                if reference.registry not in self._silent:
                    self._silent.add(reference.registry)
                    self._warn(f"{error.message}; going on without that registry")
            return None
        self._reached.add(reference.registry)
        return found


def tagged(reference: Reference) -> Reference:
    """The same name without a digest."""
    if not reference.digest:
        return reference
    return msgspec.structs.replace(reference, digest="", tag=reference.tag or "latest")


def _platform(image: Inspected) -> Platform:
    return Platform.normal(image.os, image.architecture, image.variant)


def _none(path: Path) -> tarfile.ExFileObject:
    raise UserError(f"{path.name}: not an image as the engine saves it")
