"""What `skiff port` is going to do, as values: planning makes them, building carries them out."""

from __future__ import annotations

import difflib
import enum
import re
from pathlib import Path

import msgspec

from skiff.model.arch import Arch

# The newest variant of 32-bit ARM first: it runs what was built for those behind it.
_ARM_VARIANTS = ("v7", "v6", "v5")
_AMD64_VARIANTS = ("v4", "v3", "v2", "")
# The variant that a CPU has when none is written, and that is therefore not written (containerd's rule).
_PLAIN = {"arm64": "v8", "amd64": "v1"}
# Other programs' names → OCI's.
_OTHER_NAMES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "i686": "386",
    "x86": "386",
    "arm32": "arm",
    "armv7": "arm/v7",
    "armv7l": "arm/v7",
    "armv6": "arm/v6",
    "armv6l": "arm/v6",
    "arm32v6": "arm/v6",
}
_AS_IN = "as in arm64, armhf or linux/arm/v6"
# CPUs of images that Debian has no packages for (Go's names, as all of OCI's).
_WITHOUT_DEBIAN = ("mips", "mips64", "mipsle", "ppc64", "wasm")
DIGEST = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-fA-F]{32,}")


class Platform(msgspec.Struct, frozen=True, order=True):
    """Operating system and CPU of an image, spelled as OCI does: ``linux/arm/v7``."""

    os: str = "linux"
    arch: str = "amd64"
    variant: str = ""

    @classmethod
    def of(cls, arch: Arch) -> Platform:
        """The platform that images of a Debian architecture are for."""
        return cls.parse(arch.oci)

    @classmethod
    def parse(cls, text: str) -> Platform:
        """From ``linux/arm/v7``, ``arm64``, ``armhf``, ``x86_64`` … Raises ValueError for what is none."""
        words = text.strip().lower().split("/")
        if len(words) == 1 or (len(words) == 2 and words[1][:1] == "v"):
            words = ["linux", *words]
        os_name, cpu, *rest = words
        if not rest and cpu not in ("arm", "386"):
            cpu = _names().get(cpu, cpu)
            rest = cpu.removeprefix("linux/").split("/")
            cpu, *rest = rest
        variant = rest[0] if rest else ""
        if len(rest) > 1 or not re.fullmatch(r"[a-z0-9_]+", cpu) or not re.fullmatch(r"[a-z]+", os_name):
            raise ValueError(f"not a platform: {text}; {_AS_IN}")
        return cls.normal(os_name, cpu, variant)

    @classmethod
    def known(cls, text: str) -> Platform:
        """The same of a CPU that there is. Raises ValueError that tells the nearest name for another."""
        platform = cls.parse(text)
        there = {Platform.of(arch).arch for arch in Arch} | set(_WITHOUT_DEBIAN)
        if platform.arch in there and (platform.arch != "arm" or platform.variant in _ARM_VARIANTS):
            return platform
        written = text.strip().lower().removeprefix("linux/")
        # Of names that are equally near, the usual one.
        usual = [*(arch.debian for arch in Arch), *(f"arm/{variant}" for variant in _ARM_VARIANTS)]
        near = [
            name for names in (usual, _names()) for name in difflib.get_close_matches(written, names, n=1)
        ]
        raise ValueError(f"there is no CPU {written}; {f'did you mean {near[0]}?' if near else _AS_IN}")

    @classmethod
    def normal(cls, os: str, arch: str, variant: str = "") -> Platform:
        """From the fields of a manifest, with the variant written in one way only."""
        if arch == "arm" and variant and variant[0] != "v":
            variant = f"v{variant}"
        if arch == "arm" and variant in ("", "v8"):
            variant = "v7"
        return cls(os, arch, "" if variant == _PLAIN.get(arch) else variant)

    @property
    def debian(self) -> Arch | None:
        """The Debian architecture whose packages run there; None if Debian has none."""
        if (self.os, self.arch) == ("linux", "arm"):
            return Arch.ARMHF if self.variant == "v7" else Arch.ARMEL
        return next((one for one in Arch if one.oci == f"{self.os}/{self.arch}"), None)

    @property
    def library(self) -> str:
        """Name in the library of official images: ``arm32v6``."""
        arch = self.debian
        return f"arm32{self.variant}" if self.arch == "arm" or arch is None else arch.library

    @property
    def fallbacks(self) -> tuple[Platform, ...]:
        """Platforms whose programs run there, the best one first: itself."""
        variants = {"arm": _ARM_VARIANTS, "amd64": _AMD64_VARIANTS}.get(self.arch, (self.variant,))
        start = variants.index(self.variant) if self.variant in variants else 0
        return tuple(Platform(self.os, self.arch, variant) for variant in variants[start:])

    def choose(self, there: tuple[Platform, ...]) -> Platform | None:
        """The best of the platforms that an image is there for; None if none runs here."""
        return next((one for one in self.fallbacks if one in there), None)

    def __str__(self) -> str:
        return "/".join(word for word in (self.os, self.arch, self.variant) if word)


def _names() -> dict[str, str]:
    """Every name of a CPU → OCI's."""
    ours = {name: arch.oci for arch in Arch for name in (arch.debian, arch.library, arch.machine)}
    return {**_OTHER_NAMES, **ours}


class Reference(msgspec.Struct, frozen=True, order=True):
    """The name of an image, in full: ``docker.io/library/debian:trixie@sha256:…``."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Registry and repository."""
        return f"{self.registry}/{self.repository}"

    @property
    def short(self) -> str:
        """As one writes it: without Docker Hub's own names."""
        return str(self).removeprefix("docker.io/").removeprefix("library/")

    def __str__(self) -> str:
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


class Action(enum.Enum):
    """What is done for a node."""

    # An image for the CPU is there.
    REUSE = "reuse"
    # Built from its Dockerfile.
    REBUILD = "rebuild"
    # A base made of a distribution's packages.
    SYNTHESISE = "synthesise"
    # Neither image nor source: the plan cannot be carried out.
    MISSING = "missing"


class GitSource(msgspec.Struct, frozen=True, tag_field="kind", tag="git"):
    """A folder of a git repository at one commit."""

    url: str
    commit: str
    directory: str = "."
    file: str = "Dockerfile"
    # Branch or tag that the commit was found by.
    ref: str = ""


class LocalSource(msgspec.Struct, frozen=True, tag_field="kind", tag="local"):
    """A folder of this machine; ``file`` is relative to it, or absolute."""

    path: Path
    file: str = "Dockerfile"


class ReconstructedSource(msgspec.Struct, frozen=True, tag_field="kind", tag="reconstructed"):
    """No source was found: the Dockerfile was written anew from the image's history."""

    # The image that was read, and for which CPU.
    image: Reference
    platform: Platform


Source = GitSource | LocalSource | ReconstructedSource


class Finding(msgspec.Struct, frozen=True):
    """Something in a Dockerfile that ties it to a CPU or cannot be reproduced, and what was done about it."""

    # download, arch-map, platform, flags, packages, binary, checksum, lost.
    kind: str
    file: str
    # From 1; 0 for what belongs to no line.
    line: int
    what: str
    why: str
    # The line as it is and as it becomes; both empty when nothing was rewritten.
    before: str = ""
    after: str = ""
    # Whether the image is likely to be wrong if nothing is done.
    blocks: bool = False


class Parent(msgspec.Struct, frozen=True):
    """An image that a Dockerfile needs, and the node that it comes from."""

    node: str
    # As the Dockerfile writes it, with arguments put in: what a build context has to be named.
    written: str
    # FROM, COPY or RUN of that line.
    instruction: str
    line: int


class Node(msgspec.Struct, frozen=True):
    """One image for one platform."""

    # `reference` and `platform`, as in "docker.io/library/debian:trixie linux/arm64".
    id: str
    reference: Reference
    platform: Platform
    action: Action
    why: str
    # Reuse: the platform that is there, maybe an older variant than asked for.
    found: Platform | None = None
    # Rebuild.
    source: Source | None = None
    # `dockerfile` (a Dockerfile) or `oci-import` (the folder is an OCI layout), as in the official library.
    builder: str = "dockerfile"
    # The Dockerfile to build with: findings are rewritten in it, names of images are as they were.
    text: str = ""
    # What was rewritten, as a unified diff.
    diff: str = ""
    # Stage to build; empty for the last one.
    target: str = ""
    args: dict[str, str] = {}
    parents: tuple[Parent, ...] = ()
    findings: tuple[Finding, ...] = ()


class Plan(msgspec.Struct, frozen=True):
    """Nodes in an order in which each comes after those it needs."""

    roots: tuple[str, ...]
    nodes: tuple[Node, ...]

    def node(self, name: str) -> Node:
        """The node with that id. Raises KeyError."""
        for item in self.nodes:
            if item.id == name:
                return item
        raise KeyError(name)

    @property
    def missing(self) -> tuple[Node, ...]:
        """Nodes that stand in the way of carrying it out."""
        return tuple(item for item in self.nodes if item.action is Action.MISSING)
