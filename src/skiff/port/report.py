"""What was ported and with which outcome, as a page for people; for programs it is `Ported` as JSON."""

from __future__ import annotations

from pathlib import Path

from skiff.host import json
from skiff.host.errors import UserError
from skiff.host.files import write_atomic
from skiff.model.port import Plan
from skiff.model.ported import Ported


def save(ported: Ported, plan: Plan, file: Path) -> None:
    """Write the report: Markdown for `.md`, JSON for `.json`. Raises UserError for another ending."""
    kinds = {".md": lambda: markdown(ported, plan).encode(), ".json": lambda: json.encode(ported)}
    check(file)
    write_atomic(file, kinds[file.suffix]())


def check(file: Path) -> None:
    """Raise UserError, before any work, when no report can be written there."""
    if file.suffix not in (".md", ".json"):
        raise UserError(f"{file}: a report ends in .md or .json")
    if not file.absolute().parent.is_dir():
        raise UserError(f"{file}: the folder is not there")


def markdown(ported: Ported, plan: Plan) -> str:
    """The report as a Markdown page."""
    lines = ["# Ported images", "", *_images(ported)]
    if ported.outputs:
        lines += ["", *(f"- {output}" for output in ported.outputs)]
    lines += ["", "## What was done for them", "", *_work(ported)]
    if found := _findings(plan):
        lines += ["", "## What tied them to a CPU", ""]
        lines += _table(("file", "line", "what", "why", "done"), found)
    return "\n".join(lines) + "\n"


def _images(ported: Ported) -> list[str]:
    head = ("image", "platform", "size", "programs looked at", "verified", "digest")
    rows: list[tuple[str, ...]] = [
        (
            one.image,
            str(one.platform),
            f"{one.bytes / 1e6:.1f} MB",
            str(one.elf_files),
            one.verified or "-",
            f"`{one.digest}`",
        )
        for one in ported.results
    ]
    return _table(head, rows)


def _work(ported: Ported) -> list[str]:
    head = ("image", "platform", "outcome", "where", "seconds", "rewritten", "left as it is")
    rows: list[tuple[str, ...]] = [
        (
            one.image,
            str(one.platform),
            one.outcome.value,
            one.where or "-",
            f"{one.seconds:.1f}",
            str(one.rewritten),
            str(one.left),
        )
        for one in ported.nodes
    ]
    return _table(head, rows)


def _findings(plan: Plan) -> list[tuple[str, ...]]:
    """Rows for what ties Dockerfiles to a CPU: each once, though several images may be made of one file."""
    found = [
        (one.file, str(one.line or "-"), one.what, one.why, "rewritten" if one.after else "left")
        for node in plan.nodes
        for one in node.findings
    ]
    return list(dict.fromkeys(found))


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    cells = [head, ("---",) * len(head), *rows]
    return [
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in cells
    ]
