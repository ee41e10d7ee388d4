"""A plan as a picture: Graphviz' language, and SVG made of it by `dot`."""

from __future__ import annotations

import re

from skiff.host.run import run
from skiff.model.port import Action, Node, Plan

# Colours that stay apart in grey, too.
_COLOURS = {
    Action.REUSE: "#dbe9d8",
    Action.REBUILD: "#fde8b8",
    Action.SYNTHESISE: "#cfe0f3",
    Action.MISSING: "#f3b8b0",
}
# Seconds; a plan of hundreds of images takes a few.
_DOT = 120.0


def dot_text(plan: Plan) -> str:
    """The plan in Graphviz' language: an arrow from each image to those it needs."""
    names = {node.id: f"n{number}" for number, node in enumerate(plan.nodes)}
    lines = [
        "digraph port {",
        "  rankdir=LR;",
        '  node [shape=box, style="filled,rounded", fontname="sans-serif", fontsize=11];',
        '  edge [fontname="sans-serif", fontsize=9, color="#666666"];',
    ]
    lines += [f"  {names[node.id]} [{_attributes(node, node.id in plan.roots)}];" for node in plan.nodes]
    for node in plan.nodes:
        for parent in sorted({(one.node, one.instruction) for one in node.parents}):
            lines.append(f"  {names[node.id]} -> {names[parent[0]]} [label={_quoted(parent[1])}];")
    return "\n".join([*lines, "}"]) + "\n"


def svg_text(plan: Plan) -> bytes:
    """The plan as SVG. Raises UserError when Graphviz is not installed."""
    return run(["dot", "-Tsvg"], input=dot_text(plan).encode(), timeout=_DOT).stdout


def _attributes(node: Node, root: bool) -> str:
    label = f"{node.reference.short}\n{node.platform}\n{node.action.value}"
    return (
        f"label={_quoted(label)}, tooltip={_quoted(node.why)}, "
        f'fillcolor="{_COLOURS[node.action]}", penwidth={2 if root else 1}'
    )


def _quoted(text: str) -> str:
    """A string of Graphviz: a backslash would begin one of its own escapes."""
    plain = re.sub(r"[\x00-\x09\x0b-\x1f]", " ", text).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + plain.replace("\n", "\\n") + '"'
