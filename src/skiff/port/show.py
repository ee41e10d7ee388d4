"""A plan for reading: the tree of images with what is done for each, what ties them to a CPU; and as JSON."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from skiff.model.port import Action, Finding, GitSource, LocalSource, Node, Plan

# Characters of a commit that are enough for reading.
_SHORT = 12


def tree_lines(plan: Plan) -> Iterator[str]:
    """The tree, roots first. What an image needs is told once."""
    rows = list(_rows(plan))
    names = max((len(name) for name, _, _ in rows), default=0)
    for name, action, why in rows:
        yield f"{name:{names}}  {action:10}  {why}".rstrip()


def _rows(plan: Plan) -> Iterator[tuple[str, str, str]]:
    nodes = {node.id: node for node in plan.nodes}
    told: set[str] = set()
    # Node, what stands before its name, and before the names of those below it.
    waiting = [(name, "", "") for name in reversed(plan.roots)]
    while waiting:
        name, lead, below = waiting.pop()
        node = nodes[name]
        label = f"{lead}{node.reference.short} {node.platform}"
        if name in told and node.parents:
            yield label, node.action.value, "as above"
            continue
        told.add(name)
        yield label, node.action.value, _why(node)
        needed = list(dict.fromkeys(parent.node for parent in node.parents))
        for place, parent in enumerate(reversed(needed)):
            last = place == 0
            waiting.append((parent, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  ")))


def _why(node: Node) -> str:
    place = source_text(node)
    return f"{node.why}: {place}" if place else node.why


def source_text(node: Node) -> str:
    """Where a node's source is, in short; empty if it has none."""
    source = node.source
    if isinstance(source, GitSource):
        folder = "" if source.directory == "." else f":{source.directory}"
        return f"{source.url}#{source.commit[:_SHORT]}{folder}"
    return str(source.path / source.file) if isinstance(source, LocalSource) else ""


class Told(msgspec.Struct, frozen=True):
    """A plan for programs: the plan itself, and what they would have to count in it."""

    roots: tuple[str, ...]
    # Whether it can be carried out: nothing is missing.
    possible: bool
    # The nodes without image and source.
    missing: tuple[str, ...]
    # Findings that wait for somebody.
    to_do: int
    nodes: tuple[Node, ...]


def for_programs(plan: Plan) -> Told:
    """The plan as `--plan --json` prints it."""
    missing = tuple(node.id for node in plan.missing)
    return Told(plan.roots, not missing, missing, _open_ones(plan), plan.nodes)


def _open_ones(plan: Plan) -> int:
    return sum(one.blocks and not one.after for node in plan.nodes for one in node.findings)


def finding_lines(plan: Plan) -> Iterator[str]:
    """What was found in Dockerfiles, file by file, and the changes to each."""
    for node in plan.nodes:
        if not node.findings:
            continue
        yield f"{node.reference.short} {node.platform}:"
        for finding in node.findings:
            yield f"  {_mark(finding)} {_place(finding)}: {finding.what}"
            yield f"      {finding.why}"
        if node.diff:
            yield from (f"    {line}" for line in node.diff.splitlines())


def _mark(finding: Finding) -> str:
    return "rewritten" if finding.after else "to do    " if finding.blocks else "note     "


def _place(finding: Finding) -> str:
    name = finding.file.rpartition("/")[2]
    return f"{name}:{finding.line}" if finding.line else name


def summary(plan: Plan) -> str:
    """How many nodes of each kind, and how many findings wait for somebody."""
    counts = [(action, sum(node.action is action for node in plan.nodes)) for action in Action]
    parts = [f"{count} {action.value}" for action, count in counts if count]
    open_ones = _open_ones(plan)
    parts += [f"{open_ones} finding{'s' * (open_ones > 1)} to do"] if open_ones else []
    return ", ".join(parts)
