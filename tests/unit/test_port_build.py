"""Carrying out a plan with an engine that only remembers: order, what is kept, what a failure leaves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import msgspec
import pytest

from skiff.host.errors import UserError
from skiff.host.run import Group
from skiff.host.ui import Ui
from skiff.model.arch import Arch
from skiff.model.port import Action, LocalSource, Node, Parent, Plan, Platform
from skiff.port.build import Builder, How
from skiff.port.engine import Engine, Job
from skiff.port.lookup import Images
from skiff.port.pin import pin
from skiff.port.progress import Watch
from skiff.port.prove import Proven, Shelf
from skiff.port.reference import parse_reference

ARM = Platform.parse("arm64")
HERE = Platform.parse("amd64")


class Memory(Engine):
    """An engine that builds nothing and remembers what it was asked for."""

    def __init__(self, name: str = "docker", arch: Arch = Arch.AMD64, remote: str = "") -> None:
        super().__init__(name, ("false",), arch, remote=remote)
        self.kept: set[str] = set()
        self.jobs: list[Job] = []
        self.texts: dict[str, str] = {}
        self.fails: str = ""
        self.meanwhile: Callable[[Job], None] = lambda _: None

    def tags(self) -> frozenset[str]:
        return frozenset(self.kept)

    def build(self, job: Job, group: Group, say: Callable[[str], None]) -> int:
        self.jobs.append(job)
        self.texts[job.tag] = job.dockerfile.read_text()
        self.meanwhile(job)
        say("#5 [1/2] RUN make")
        if self.fails and self.fails in job.tag:
            say("#5 0.1 cc: error")
            return 1
        self.kept.add(job.tag)
        return 0

    def save(self, tag: str, archive: Path) -> None:
        assert tag in self.kept
        archive.write_text(tag)

    def load(self, archive: Path) -> None:
        self.kept.add(archive.read_text())


class Nothing:
    """Images: there are none."""

    def manifest(self, *_: object) -> str:
        return ""

    def local(self, *_: object) -> None:
        return None

    def platforms(self, *_: object) -> None:
        return None


def node(folder: Path, name: str, *parents: str, platform: Platform = ARM, text: str = "") -> Node:
    """A node that is built from a folder, on images in the order of its FROM lines."""
    context = folder / name
    context.mkdir(exist_ok=True)
    (context / "file").write_text(name)
    lines = "".join(f"FROM {parent} AS s{number}\n" for number, parent in enumerate(parents))
    return Node(
        f"{parse_reference(name)} {platform}",
        parse_reference(name),
        platform,
        Action.REBUILD,
        "",
        source=LocalSource(context),
        text=text or lines or "FROM scratch\nCOPY file /\n",
        parents=tuple(
            Parent(f"{parse_reference(parent)} {platform}", parent, "FROM", number + 1)
            for number, parent in enumerate(parents)
        ),
    )


def builder(tmp_path: Path, nodes: list[Node], *engines: Memory, jobs: int = 2) -> Builder:
    plan = Plan((nodes[-1].id,), tuple(nodes))
    images = cast(Images, Nothing())

    def checkout(node: Node) -> Path | None:
        return node.source.path if isinstance(node.source, LocalSource) else None

    return Builder(plan, images, engines or (Memory(),), checkout, tmp_path, How(jobs), Ui(quiet=True))


def run(made: Builder) -> None:
    made.run(made.wanted(made.plan.roots))


def test_parents_come_first_and_are_named_in_the_dockerfile(tmp_path: Path) -> None:
    engine = Memory()
    made = builder(
        tmp_path, [node(tmp_path, "low"), node(tmp_path, "mid", "low"), node(tmp_path, "top", "mid")], engine
    )
    run(made)
    assert [job.tag for job in engine.jobs] == list(made.tags.values())
    low, mid, top = made.tags.values()
    assert engine.texts[mid] == f"FROM --platform=linux/arm64 {low} AS s0\n"
    assert engine.texts[top] == f"FROM --platform=linux/arm64 {mid} AS s0\n"
    assert {str(job.platform) for job in engine.jobs} == {"linux/arm64"}


def test_what_does_not_depend_on_each_other_is_built_side_by_side(tmp_path: Path) -> None:
    engine = Memory()
    both = threading.Barrier(2, timeout=30)

    def meet(job: Job) -> None:
        if "top" not in job.tag:
            both.wait()

    engine.meanwhile = meet
    run(
        builder(tmp_path, [node(tmp_path, "a"), node(tmp_path, "b"), node(tmp_path, "top", "a", "b")], engine)
    )
    assert "top" in engine.jobs[-1].tag


def test_a_second_run_builds_nothing(tmp_path: Path) -> None:
    engine = Memory()
    nodes = [node(tmp_path, "low"), node(tmp_path, "top", "low")]
    run(builder(tmp_path, nodes, engine))
    engine.jobs.clear()
    run(builder(tmp_path, nodes, engine))
    assert engine.jobs == []


def test_only_what_changed_and_what_stands_on_it_is_built_again(tmp_path: Path) -> None:
    engine = Memory()
    nodes = [node(tmp_path, "low"), node(tmp_path, "other"), node(tmp_path, "top", "low", "other")]
    run(builder(tmp_path, nodes, engine))
    engine.jobs.clear()
    (tmp_path / "low" / "file").write_text("changed")
    run(builder(tmp_path, nodes, engine))
    assert [job.tag.partition(":")[2].partition("-")[0] for job in engine.jobs] == ["low", "top"]


def test_after_a_failure_the_next_run_goes_on_where_it_ended(tmp_path: Path) -> None:
    engine = Memory()
    engine.fails = "top"
    nodes = [node(tmp_path, "low"), node(tmp_path, "top", "low")]
    with pytest.raises(
        UserError, match=r"top:latest for linux/arm64: the build failed at \[1/2\] RUN make"
    ) as error:
        run(builder(tmp_path, nodes, engine))
    assert "cc: error" in error.value.message
    engine.fails = ""
    engine.jobs.clear()
    run(builder(tmp_path, nodes, engine))
    assert [job.tag.partition(":")[2].partition("-")[0] for job in engine.jobs] == ["top"]


def test_a_device_builds_for_its_cpu_and_gets_what_was_made_here(tmp_path: Path) -> None:
    here, device = Memory(), Memory("docker on root@board", Arch.ARM64, "root@board")
    tool = node(tmp_path, "tool", platform=HERE)
    low = node(tmp_path, "low")
    cross = node(tmp_path, "cross", "tool", platform=ARM)
    cross = msgspec.structs.replace(
        cross, parents=(Parent(tool.id, "tool", "FROM", 1),), text="FROM --platform=$BUILDPLATFORM tool\n"
    )
    top = node(tmp_path, "top", "low", "cross")
    made = builder(tmp_path, [tool, low, cross, top], here, device)
    assert made.foreign(made.wanted(made.plan.roots)) == [cross]
    run(made)
    assert [job.tag for job in here.jobs] == [made.tags[tool.id], made.tags[cross.id]]
    assert [job.tag for job in device.jobs] == [made.tags[low.id], made.tags[top.id]]
    assert made.tags[cross.id] in device.kept
    assert here.texts[made.tags[cross.id]] == f"FROM --platform=linux/amd64 {made.tags[tool.id]}\n"


def test_a_folder_that_changes_only_in_its_repository_is_the_same(tmp_path: Path) -> None:
    nodes = [node(tmp_path, "low")]
    before = builder(tmp_path, nodes).keys
    (tmp_path / "low" / ".git").mkdir()
    (tmp_path / "low" / ".git" / "index").write_text("x")
    assert builder(tmp_path, nodes).keys == before
    (tmp_path / "low" / "file").chmod(0o755)
    assert builder(tmp_path, nodes).keys != before


TEXT = """\
# syntax=docker/dockerfile:1
ARG V=1
FROM --platform=$TARGETPLATFORM tiny:${V} AS one
RUN --mount=type=bind,from=tools:2,target=/t true && \\
    echo tools:2
COPY --from=tools:2 --chown=0 /a /b
FROM one
"""


@pytest.mark.parametrize("reader", [True, False])
def test_every_name_of_an_image_becomes_the_engine_s(tmp_path: Path, reader: bool) -> None:
    made = msgspec.structs.replace(
        node(tmp_path, "top", text=TEXT),
        parents=(
            Parent("tiny", "tiny:1", "FROM", 3),
            Parent("tools", "tools:2", "RUN", 4),
            Parent("tools", "tools:2", "COPY", 6),
        ),
    )
    text = pin(made, {"tiny": ("localhost/t:1", ARM), "tools": ("localhost/t:2", ARM)}, lambda _: reader)
    wanted = TEXT.replace("$TARGETPLATFORM tiny:${V}", "linux/arm64 localhost/t:1")
    wanted = wanted.replace("from=tools:2", "from=localhost/t:2")
    assert text == (wanted if reader else wanted.replace("# syntax=docker/dockerfile:1", "#"))


def test_the_escape_of_a_file_holds_without_its_reader(tmp_path: Path) -> None:
    """To older readers, a line that they do not know is the last of the directives."""
    text = "# syntax=docker/dockerfile:1\n# check=skip=all\n# escape=`\nFROM scratch\nRUN a `\n && b\n"
    made = msgspec.structs.replace(node(tmp_path, "top", text=text), parents=())
    rest = "FROM scratch\nRUN a `\n && b\n"
    assert pin(made, {}, lambda _: False) == f"# escape=`\n#\n#\n{rest}"
    assert pin(made, {}, lambda _: True) == f"# escape=`\n# syntax=docker/dockerfile:1\n#\n{rest}"


def test_the_checks_of_a_file_are_for_what_its_author_wrote(tmp_path: Path) -> None:
    """A platform written into FROM is an error to them."""
    text = "# check=error=true\nFROM a\n"
    made = msgspec.structs.replace(
        node(tmp_path, "top", text=text), parents=(Parent("tiny", "a", "FROM", 2),)
    )
    pinned = pin(made, {"tiny": ("localhost/t:1", ARM)}, lambda _: True)
    assert pinned == "#\nFROM --platform=linux/arm64 localhost/t:1\n"


@pytest.mark.parametrize("quote", ['"', "'"])
def test_a_name_in_quotes_becomes_the_engine_s(tmp_path: Path, quote: str) -> None:
    text = f"FROM scratch\nCOPY --from={quote}tools:2{quote} /a /b\n"
    made = msgspec.structs.replace(
        node(tmp_path, "top", text=text), parents=(Parent("tools", "tools:2", "COPY", 2),)
    )
    pinned = pin(made, {"tools": ("localhost/t:2", ARM)}, lambda _: True)
    assert pinned == text.replace("tools:2", "localhost/t:2")


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("#7 [build 2/5] RUN make", "[build 2/5] RUN make"),
        ("STEP 2/5: RUN make", "[2/5] RUN make"),
        ("[1/2] STEP 3/4: RUN make", "[3/4] RUN make"),
        ("Step 2/5 : RUN make", "[2/5] RUN make"),
        ("#1 [internal] load build definition from Dockerfile", ""),
        ("#7 0.345 some output [x]", ""),
    ],
)
def test_builders_tell_their_steps(tmp_path: Path, line: str, step: str) -> None:
    told: list[str] = []
    watch = Watch(tmp_path / "log", told.append)
    watch(line)
    watch.close()
    assert watch.step == step and told == ([step] if step else [])


@pytest.mark.parametrize(
    ("output", "message", "hint"),
    [
        ("write /var: no space left on device", "the engine's disk is full", "docker system df"),
        (
            "dockerfile parse error line 18: unknown instruction: CASE",
            "failed at",
            "own reader of Dockerfiles is older",
        ),
        (
            "Dockerfile parse error line 2: Unknown flag: link",
            "failed at",
            "own reader of Dockerfiles is older",
        ),
        ("exec /bin/sh: exec format error", "the build failed at", "--setup-emulation"),
    ],
)
def test_failures_that_have_a_remedy_tell_it(tmp_path: Path, output: str, message: str, hint: str) -> None:
    watch = Watch(tmp_path / "log", lambda _: None)
    watch(output)
    watch.close()
    error = watch.failure(node(tmp_path, "top"))
    assert message in error.message and hint in error.hint


def test_an_image_that_another_run_laid_on_the_shelf_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(shelf: Shelf, node: Node, builder: Builder, allowed: Sequence[str], scratch: Path) -> Proven:
        (scratch / "oci").mkdir()
        return Proven(tuple(allowed), 1)

    monkeypatch.setattr(Shelf, "_fill", fill)
    root = node(tmp_path, "app")
    made, shelf = builder(tmp_path, [root]), Shelf(tmp_path)
    shelf.put(root, made, ())
    # The other run reads it.
    (shelf.layout(made.keys[root.id]) / "blob").touch()
    shelf.put(root, made, ())
    assert (shelf.layout(made.keys[root.id]) / "blob").exists()
    # Looked at with other patterns, it is another proof.
    assert shelf.put(root, made, ("/opt/*",)) == shelf.known(made.keys[root.id], ("/opt/*",))
    assert not (shelf.layout(made.keys[root.id]) / "blob").exists()
