"""A world for plans: images that are there, by name, and folders and repositories made in a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from skiff.host.run import run
from skiff.model.oci import ImageConfig, RunConfig
from skiff.model.port import Node, Plan, Platform, Reference
from skiff.port.graph import Request, make_plan
from skiff.port.reference import parse_reference
from skiff.port.sources import Sources
from skiff.port.tie_rules import Rules

AMD64, ARM64 = Platform.parse("amd64"), Platform.parse("arm64")


class Images:
    """A lookup in memory: images and the platforms they are there for; configurations; bases of packages."""

    def __init__(
        self,
        there: Mapping[str, Sequence[str]] = {},
        configs: Mapping[str, ImageConfig] = {},
        bases: Sequence[str] = (),
    ) -> None:
        self.there = {
            str(parse_reference(name)): tuple(Platform.parse(one) for one in platforms)
            for name, platforms in there.items()
        }
        self.configs = {str(parse_reference(name)): config for name, config in configs.items()}
        self.bases = {str(parse_reference(name)) for name in bases}
        self.asked: list[str] = []

    def platforms(self, reference: Reference) -> tuple[Platform, ...] | None:
        self.asked.append(str(reference))
        return self.there.get(str(reference))

    def config(self, reference: Reference, platform: Platform) -> ImageConfig | None:
        return self.configs.get(str(reference), ImageConfig(config=RunConfig()))

    def can_synthesise(self, reference: Reference, platform: Platform) -> bool:
        return str(reference) in self.bases

    def archive_cpus(self, reference: Reference, platform: Platform) -> tuple[str, ...]:
        return ()


def write(folder: Path, **files: str) -> Path:
    """A folder with these files; `_` in a name stands for a dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


def commit(folder: Path) -> str:
    """Everything below a folder as a commit of the repository there."""
    who = ["-c", "user.name=t", "-c", "user.email=t@e.x", "-c", "commit.gpgsign=false"]
    if not (folder / ".git").exists():
        run(["git", "init", "--quiet", "--initial-branch=main", folder])
    run(["git", "-C", folder, "add", "--all"])
    run(["git", "-C", folder, *who, "commit", "--quiet", "--allow-empty", "--message", "x"])
    return run(["git", "-C", folder, "rev-parse", "HEAD"]).stdout.decode().strip()


def plan_of(
    image: str | Path,
    images: Images,
    cache: Path,
    *,
    platforms: Sequence[str] = ("arm64",),
    library: Path | None = None,
    given: Mapping[str, str] = {},
    rules: Rules | None = None,
    target: str = "",
    args: Mapping[str, str] = {},
    rewrite: bool = True,
    ground_up: bool = False,
) -> Plan:
    """The plan for an image, or for a folder with a Dockerfile."""
    path = image if isinstance(image, Path) else None
    request = Request(
        image=parse_reference("localhost/app" if isinstance(image, Path) else image),
        platforms=tuple(Platform.parse(one) for one in platforms),
        path=path,
        target=target,
        args=args,
        build=AMD64,
        rewrite=rewrite,
        ground_up=ground_up,
    )
    # A folder without images, where none is given: nothing is fetched in a test.
    (cache / "no-library").mkdir(parents=True, exist_ok=True)
    sources = Sources(given, str(library or cache / "no-library"), cache)
    try:
        return make_plan(request, images, sources, rules or Rules())
    finally:
        sources.close()


def actions(plan: Plan) -> dict[str, str]:
    """What is done for each node, by short name and platform, needed ones first."""
    return {f"{node.reference.short} {node.platform}": node.action.value for node in plan.nodes}


def root(plan: Plan) -> Node:
    """The node that was asked for."""
    return plan.node(plan.roots[0])
