"""The plan of a port: from the image asked for down to what is there for the CPU, or can be made."""

from __future__ import annotations

from typing import Protocol

from skiff.model.oci import ImageConfig
from skiff.model.port import Platform, Reference


class Lookup(Protocol):
    """What planning asks of registries, the local engine and the archives of distributions."""

    def platforms(self, reference: Reference) -> tuple[Platform, ...] | None:
        """The platforms that the image is there for; None if there is no such image."""

    def config(self, reference: Reference, platform: Platform) -> ImageConfig | None:
        """The image's configuration for a platform that it is there for; None if it is not."""

    def can_synthesise(self, reference: Reference, platform: Platform) -> bool:
        """Whether the image is a base that can be made of a distribution's packages for the platform."""
