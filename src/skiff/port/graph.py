"""The plan of a port: from the image asked for down to what is there for the CPU, or can be made."""

from __future__ import annotations

import graphlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache as once
from pathlib import Path
from typing import Protocol

import msgspec

from skiff.host.errors import UserError
from skiff.model.oci import ImageConfig
from skiff.model.port import Action, LocalSource, Node, Parent, Plan, Platform, ReconstructedSource, Reference
from skiff.port.cpu_ties import examine
from skiff.port.distributions import release_of
from skiff.port.dockerfile import DockerfileError, parse
from skiff.port.git import clean
from skiff.port.reconstruct import ORIGINAL, base_name, is_base, reconstruct
from skiff.port.reference import parse_reference
from skiff.port.sources import Found, Sources
from skiff.port.stages import Need, choose, needed, read_stages
from skiff.port.tie_rules import Rules
from skiff.port.trees import File

# Questions to registries that are under way at the same time.
_AT_ONCE = 8

Key = tuple[Reference, Platform]


class Lookup(Protocol):
    """What planning asks of registries, the local engine and the archives of distributions.

    It is asked from several threads at once.
    """

    def platforms(self, reference: Reference) -> tuple[Platform, ...] | None:
        """The platforms that the image is there for; None if there is no such image."""

    def config(self, reference: Reference, platform: Platform) -> ImageConfig | None:
        """The image's configuration for a platform that it is there for; None if it is not."""

    def can_synthesise(self, reference: Reference, platform: Platform) -> bool:
        """Whether the image is a base that can be made of a distribution's packages for the platform."""

    def archive_cpus(self, reference: Reference, platform: Platform) -> tuple[str, ...]:
        """The CPUs that a base's archive has, by Debian's names; none for other images, or without answer."""


class Request(msgspec.Struct, frozen=True):
    """What is to be ported, and how."""

    # An image, or a folder with a Dockerfile.
    image: Reference
    platforms: tuple[Platform, ...]
    path: Path | None = None
    file: str = ""
    # Stage of that Dockerfile, and its arguments.
    target: str = ""
    args: Mapping[str, str] = {}
    # What builds run on without emulation.
    build: Platform = Platform()
    rewrite: bool = True
    # Reuse nothing for the CPU that can be made.
    ground_up: bool = False


def make_plan(request: Request, lookup: Lookup, sources: Sources, rules: Rules) -> Plan:
    """The plan. Nodes of it may be missing: it is for the caller to refuse. Raises UserError."""
    planner = _Planner(request, lookup, sources, rules)
    keys = [(request.image, platform) for platform in request.platforms]
    nodes = planner.resolve(keys)
    return Plan(tuple(_id(key) for key in keys), _ordered(nodes))


def _id(key: Key) -> str:
    return f"{key[0]} {key[1]}"


def _ordered(nodes: Mapping[str, Node]) -> tuple[Node, ...]:
    """Nodes behind those they need. Raises UserError for a circle."""
    sorter = graphlib.TopologicalSorter(
        {name: [parent.node for parent in node.parents] for name, node in nodes.items()}
    )
    try:
        return tuple(nodes[name] for name in sorter.static_order())
    except graphlib.CycleError as error:
        names = [nodes[name].reference.short for name in reversed(error.args[1])]
        raise UserError(
            f"images that need each other in a circle: {' → '.join(names)}",
            "an image of the circle must come from elsewhere: --source IMAGE=…, or a registry that has it",
        ) from error


class _Planner:
    def __init__(self, request: Request, lookup: Lookup, sources: Sources, rules: Rules) -> None:
        self.request = request
        self.sources = sources
        self.rules = rules
        # Asked once each.
        self._platforms = once(lookup.platforms)
        self._config = once(lookup.config)
        self._synthesisable = lookup.can_synthesise
        self._archive_cpus = lookup.archive_cpus
        # Who needs an image, for messages: file and need.
        self._wanted_by: dict[str, tuple[str, Need]] = {}

    def resolve(self, roots: list[Key]) -> dict[str, Node]:
        """All nodes. What one level of them needs is the next level; a level is looked up at once."""
        nodes: dict[str, Node] = {}
        level = list(dict.fromkeys(roots))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            while level:
                following: dict[Key, None] = {}
                for node, needs in pool.map(self._node, level):
                    nodes[node.id] = node
                    following.update(dict.fromkeys((need.reference, need.platform) for need in needs))
                level = [key for key in following if _id(key) not in nodes]
        for node in nodes.values():
            self._check_stage_names(node)
        return nodes

    def _check_stage_names(self, node: Node) -> None:
        """A name behind --from that is no image either was meant to be a stage's."""
        file, need = self._wanted_by.get(node.id, ("", None))
        if node.action is not Action.MISSING or need is None or need.instruction == "FROM":
            return
        if not set(need.written) & set("/:@."):
            hint = "FROM … AS NAME names a stage; a context of the builder is given by --source NAME=FOLDER"
            hint = f"did you mean {need.near}?" if need.near else hint
            what = f"there is no stage {need.written}, and no image of that name"
            raise DockerfileError(file, need.line, need.column, what, hint)

    def _node(self, key: Key) -> tuple[Node, tuple[Need, ...]]:
        reference, platform = key
        root = reference == self.request.image
        if root and self.request.path is not None:
            found = self.sources.at_path(self.request.path, self.request.file)
            return self._rebuild(key, found, root=True)
        there = self._platforms(reference) or ()
        fitting = platform.choose(there)
        if fitting is not None and (not self.request.ground_up or platform == self.request.build):
            return self._reuse(key, fitting), ()
        config = self._config(reference, there[0]) if there else None
        made = self._made(key, config, root=root)
        if made is not None:
            return made
        if fitting is not None:
            return self._reuse(key, fitting), ()
        if reference.digest and reference.tag:
            return self._instead_of_digest(key)
        if config is not None:
            return self._reconstructed(key, there[0], config)
        why = f"no registry that answers has it, and {self._unknown(reference, platform)}"
        return Node(_id(key), reference, platform, Action.MISSING, why), ()

    def _unknown(self, reference: Reference, platform: Platform) -> str:
        """Why nothing tells how an image is made."""
        release = release_of(reference)
        if release is not None:
            cpus = self._archive_cpus(reference, platform)
            if cpus:
                return f"its archive has {release.suite} for {', '.join(cpus)} only"
            return "no archive that answers has its packages"
        cpus = self.sources.library_cpus(reference, platform)
        return f"the official library only for {', '.join(cpus)}" if cpus else "its source is not known"

    def _reuse(self, key: Key, fitting: Platform) -> Node:
        reference, platform = key
        why = f"there for {fitting}" + ("" if fitting == platform else f", which runs on {platform}")
        return Node(_id(key), reference, platform, Action.REUSE, why, found=fitting)

    def _made(
        self, key: Key, config: ImageConfig | None, *, root: bool
    ) -> tuple[Node, tuple[Need, ...]] | None:
        """A node that is built; None if nothing tells how."""
        reference, platform = key
        if self._synthesisable(reference, platform):
            why = "a base that is made of packages"
            return Node(_id(key), reference, platform, Action.SYNTHESISE, why), ()
        found = self.sources.of(reference, platform, config.labels if config else {})
        return self._rebuild(key, found, root=root) if found is not None else None

    def _instead_of_digest(self, key: Key) -> tuple[Node, tuple[Need, ...]]:
        """What the tag names, when the digest is that of another CPU's image."""
        tagged = msgspec.structs.replace(key[0], digest="")
        node, needs = self._node((tagged, key[1]))
        why = f"{node.why} (the digest is another CPU's; {tagged.short} instead)"
        return msgspec.structs.replace(node, id=_id(key), reference=key[0], why=why), needs

    def _reconstructed(self, key: Key, there: Platform, config: ImageConfig) -> tuple[Node, tuple[Need, ...]]:
        """A node from the image's history: missing, if the history does not tell what it is based on."""
        reference, platform = key
        made = reconstruct(reference, there, config, self._base_steps(there, config))
        name = f"Dockerfile of {reference.short}, from its history"
        lost = tuple(msgspec.structs.replace(one, file=name) for one in made.lost)
        if not made.based:
            why = f"there for {there} only; its source is not known, nor the image that it is based on"
            return Node(_id(key), reference, platform, Action.MISSING, why, text=made.text, findings=lost), ()
        why = "no source is known: a Dockerfile was made of its history"
        source = ReconstructedSource(reference, there)
        node, needs = self._rebuild(key, Found(source, _Empty(), made.text, name, why), root=False)
        return msgspec.structs.replace(node, findings=(*lost, *node.findings)), needs

    def _base_steps(self, there: Platform, config: ImageConfig) -> int:
        """How many steps of an image's history are those of the base that its label names; 0 if unknown."""
        try:
            base = parse_reference(base_name(config))
        except UserError:
            return 0
        found = self._config(base, there) if there in (self._platforms(base) or ()) else None
        return len(found.history) if found is not None and is_base(found, config) else 0

    def _rebuild(self, key: Key, found: Found, *, root: bool) -> tuple[Node, tuple[Need, ...]]:
        reference, platform = key
        node = Node(
            _id(key),
            reference,
            platform,
            Action.REBUILD,
            found.why,
            source=found.source,
            builder=found.builder,
            text=found.text,
        )
        if found.builder != "dockerfile":
            return node, ()
        file = parse(found.text, found.name)
        args = dict(self.request.args) if root else {}
        target = self.request.target if root else ""
        keep = ORIGINAL if isinstance(found.source, ReconstructedSource) else ""
        place = "" if isinstance(found.source, ReconstructedSource) else found.source.file
        ties = examine(file, found.tree, args, target, platform, self.request.build, self.rules, keep, place)
        if self.request.rewrite and ties.diff:
            file = parse(ties.text, found.name)
        stages = read_stages(file, args, platform, self.request.build)
        last = choose(file, stages, target)
        needs = needed(file, stages, last, platform, self._triggers).images
        for need in needs:
            self._wanted_by.setdefault(_id((need.reference, need.platform)), (found.name, need))
        node = msgspec.structs.replace(
            node,
            text=file.text,
            diff=ties.diff if self.request.rewrite else "",
            target=target,
            args=args,
            parents=tuple(
                Parent(_id((need.reference, need.platform)), need.written, need.instruction, need.start)
                for need in needs
            ),
            findings=ties.findings if self.request.rewrite else ties.refused,
        )
        return node, needs

    def _triggers(self, reference: Reference, platform: Platform) -> tuple[str, ...]:
        """What an image holds back for those built on it; its CPU makes no difference."""
        there = self._platforms(reference)
        if not there:
            return ()
        config = self._config(reference, platform.choose(there) or there[0])
        return (config.run.on_build or ()) if config else ()


class _Empty:
    """The folder of a Dockerfile that was reconstructed: there is none."""

    def read(self, path: str) -> bytes | None:
        """Nothing."""
        return None

    def files(self, path: str) -> Iterator[File]:
        """None."""
        return iter(())


def source_folder(node: Node, sources: Sources) -> Path | None:
    """The folder that a node is built from, checked out; None if it needs none. Raises UserError."""
    if isinstance(node.source, LocalSource):
        return node.source.path
    if node.source is None or isinstance(node.source, ReconstructedSource):
        return None
    folder = sources.repository(node.source.url).checkout(node.source.commit, sources.cache)
    # The author of an image chooses the directory, by its labels.
    inside = (folder / clean(node.source.directory)).resolve()
    if not inside.is_relative_to(folder.resolve()):
        raise UserError(f"{node.source.url}: {node.source.directory} leads out of it")
    return inside
