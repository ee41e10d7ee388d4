"""The report of a port: the page for people, and what is refused before the work."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from skiff.host.errors import UserError
from skiff.model.port import Action, Finding, Node, Plan, Platform, Reference
from skiff.model.ported import Done, Outcome, Ported, Result
from skiff.port.report import check, markdown, save

ARM = Platform("linux", "arm64")
FINDING = Finding("flags", "Dockerfile", 3, "gcc -m64 | tee", "an option of one CPU", "RUN a", "RUN b")
NODE = Node("app", Reference("e.x", "app", "1"), ARM, Action.REBUILD, "its source", findings=(FINDING,))
PLAN = Plan(("app",), (NODE, msgspec.structs.replace(NODE, id="other")))
PORTED = Ported(
    results=(Result("app", "e.x/app:1", ARM, "sha256:12", 1_250_000, 7),),
    nodes=(Done("app", "e.x/app:1", ARM, Action.REBUILD, Outcome.BUILT, "docker", 2.34, 1),),
    outputs=("app.tar",),
)


def test_the_page() -> None:
    assert markdown(PORTED, PLAN) == (
        "# Ported images\n\n"
        "| image | platform | size | programs looked at | verified | digest |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        "| e.x/app:1 | linux/arm64 | 1.2 MB | 7 | - | `sha256:12` |\n\n"
        "- app.tar\n\n"
        "## What was done for them\n\n"
        "| image | platform | outcome | where | seconds | rewritten | left as it is |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n"
        "| e.x/app:1 | linux/arm64 | built | docker | 2.3 | 1 | 0 |\n\n"
        "## What tied them to a CPU\n\n"
        "| file | line | what | why | done |\n"
        "| --- | --- | --- | --- | --- |\n"
        # Once, for two images of one Dockerfile.
        "| Dockerfile | 3 | gcc -m64 \\| tee | an option of one CPU | rewritten |\n"
    )


def test_the_ending_says_the_kind(tmp_path: Path) -> None:
    save(PORTED, PLAN, tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["results"][0]["elf_files"] == 7
    with pytest.raises(UserError, match=r"a report ends in \.md or \.json"):
        check(tmp_path / "report.txt")
    with pytest.raises(UserError, match="the folder is not there"):
        check(tmp_path / "none/report.md")
