"""Planning from words: folders and names, port.toml, plans that are kept; and plans as text and picture."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from skiff.host import json
from skiff.host.errors import UserError
from skiff.model.port import Plan, Platform
from skiff.port.picture import dot_text, svg_text
from skiff.port.planning import Wish, planned
from skiff.port.reference import parse_reference
from skiff.port.show import finding_lines, summary, tree_lines
from tests.unit.port_world import AMD64, Images, commit, write

BOTH = ("amd64", "arm64")


class Planner:
    """Plans in one cache; says whether the last plan was one made before."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.kept = False
        self.warnings: list[str] = []

    def __call__(self, image: str, images: Images, **values: object) -> Plan:
        fields = {"library": str(self.cache), "platforms": (Platform.parse("arm64"),), **values}
        wish = Wish(image=image, **fields)  # type: ignore[arg-type]
        with planned(wish, images, AMD64, self.cache, self.warnings.append) as made:
            self.kept = made.kept
            return made.plan


@pytest.fixture
def plan(project: Path, tmp_path: Path) -> Planner:
    cache = tmp_path / "cache"
    cache.mkdir()
    return Planner(cache)


def test_a_folder_is_written_as_one(plan: Planner, project: Path) -> None:
    write(project / "My App", Dockerfile="FROM a\n")
    images = Images({"a": BOTH})
    for word in ("./My App", "My App/", str(project / "My App"), "./My App/Dockerfile"):
        assert plan(word, images).roots == ("localhost/my-app:latest linux/arm64",)
    assert plan("./My App", images, tag=parse_reference("e.x/a:1")).roots == ("e.x/a:1 linux/arm64",)


def test_a_folder_s_bare_name_is_an_image_s(plan: Planner, project: Path) -> None:
    write(project / "app", Dockerfile="FROM a\n")
    assert plan("app", Images({"app": BOTH})).nodes[0].why == "there for linux/arm64"
    with pytest.raises(UserError) as caught:
        plan("app", Images())
    assert caught.value.hint == "if what lies here is meant: skiff port ./app"


@pytest.mark.parametrize("change", ["Dockerfile", "context", "image", "source", "port.toml", "ignore"])
def test_a_plan_is_kept_until_something_changes(plan: Planner, project: Path, change: str) -> None:
    app = write(project / "app", Dockerfile="FROM a\nCOPY . /\nCOPY --from=e.x/b /x /\n", x="1")
    source = write(project / "source", Dockerfile="FROM a\n")
    commit(source)
    images = Images({"a": BOTH})
    given = {"sources": (f"e.x/b={source}#main",)}
    first = plan("./app", images, **given)
    assert not plan.kept
    assert plan("./app", images, **given) == first
    assert plan.kept
    if change == "Dockerfile":
        write(app, Dockerfile="FROM a\nCOPY . /\nCOPY --from=e.x/b /y /\n")
    elif change == "context":
        write(app, y="2")
    elif change == "image":
        images.there = {str(parse_reference("a")): (AMD64,), str(parse_reference("e.x/b")): (AMD64,)}
    elif change == "source":
        write(source, x="2")
        commit(source)
    elif change == "port.toml":
        (project / "port.toml").write_text('[sources]\n"e.x/c" = "."\n')
    else:
        write(app, _dockerignore="x\n")
    plan("./app", images, **given)
    assert not plan.kept


def test_a_plan_of_another_folder_is_not_taken(
    plan: Planner, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`./redis` is another folder there."""
    for name in ("one", "two"):
        write(project / name, port_toml='[sources]\n"redis:7" = "./redis"\n')
        write(project / name / "redis", Dockerfile=f"FROM a\nENV OF={name}\n")
        monkeypatch.chdir(project / name)
        assert plan("redis:7", Images({"a": BOTH})).nodes[-1].text == f"FROM a\nENV OF={name}\n"


def test_a_plan_in_the_cache_that_is_broken_is_made_anew(plan: Planner) -> None:
    plan("a", Images({"a": BOTH}))
    for file in (plan.cache / "port" / "plans").iterdir():
        file.write_text("{")
    plan("a", Images({"a": BOTH}))
    assert not plan.kept


def _project(match: str = "e.x/", convention: str = "uname", names: str = "{}") -> str:
    return f'[[project]]\nname = "x"\nmatch = "{match}"\nconvention = "{convention}"\nnames = {names}\n'


@pytest.mark.parametrize("cpu", ["arm64", "aarch64", "linux/arm64"])
def test_a_project_may_name_cpus_as_one_likes(plan: Planner, project: Path, cpu: str) -> None:
    (project / "port.toml").write_text(_project(names=f'{{ "{cpu}" = "a64" }}'))
    write(project / "b", Dockerfile="FROM a\nADD https://e.x/f-x86_64 /f\n")
    assert plan("./b", Images({"a": BOTH})).nodes[-1].text == "FROM a\nADD https://e.x/f-a64 /f\n"


def test_port_toml(plan: Planner, project: Path) -> None:
    old, new = "a" * 64, "b" * 64
    (project / "port.toml").write_text(
        f'[sources]\n"e.x/b" = "{project}/b"\n[checksums]\n{old} = {{ arm64 = "{new}" }}\n'
        '[[project]]\nname = "X"\nmatch = "e\\\\.x/"\nconvention = "uname"\n'
    )
    write(project / "b", Dockerfile=f"FROM a\nADD --checksum=sha256:{old} https://e.x/f-x86_64 /f\n")
    made = plan("e.x/b", Images({"a": BOTH}))
    assert made.nodes[-1].text == f"FROM a\nADD --checksum=sha256:{new} https://e.x/f-aarch64 /f\n"
    # The command line goes before it.
    other = write(project / "other", Dockerfile="FROM a\n")
    assert plan("e.x/b", Images({"a": BOTH}), sources=(f"e.x/b={other}",)).nodes[-1].text == "FROM a\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "port.toml: not TOML"),
        ("colour = 1", "port.toml: colour: unknown key"),
        ("sources = 1", "port.toml: sources: expected a table, got a whole number"),
        ('[checksums]\na = { "x/y/z/v" = "b" }', "port.toml: checksums: not a platform: x/y/z/v"),
        (
            '[checksums]\na = { arm65 = "b" }',
            "port.toml: checksums: there is no CPU arm65; did you mean arm64?",
        ),
        (_project(match="("), "port.toml: project x: match: no regular expression: missing )"),
        (
            _project(convention="unmae"),
            "port.toml: project x: convention: 'unmae' is none of debian, uname, ",
        ),
        (
            _project(names='{ arm65 = "b" }'),
            "port.toml: project x: names: there is no CPU arm65; did you mean",
        ),
    ],
)
def test_mistakes_in_port_toml(plan: Planner, project: Path, text: str, message: str) -> None:
    (project / "port.toml").write_text(text)
    with pytest.raises(UserError) as caught:
        plan("a", Images({"a": BOTH}))
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sources": ("x",)}, "--source x: not IMAGE=SOURCE"),
        ({"port_file": Path("gone.toml")}, "gone.toml: No such file or directory"),
        ({"library": "./gone"}, "there is no such folder"),
        ({"library": "https://127.0.0.1:1/x.git"}, "https://127.0.0.1:1/x.git: HEAD cannot be fetched"),
    ],
)
def test_words_that_are_of_no_use(plan: Planner, values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        plan("a", Images(), **values)
    assert message in caught.value.message


def test_without_the_default_library_planning_goes_on(plan: Planner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skiff.port.planning.LIBRARY", "https://127.0.0.1:1/x.git")
    for _ in range(2):
        made = plan("a", Images(), library="")
        assert len(made.missing) == 1
        # Tomorrow it may be there.
        assert not plan.kept
    assert len(plan.warnings) == 2
    assert plan.warnings[0].startswith("going on without the library of official images: ")


def example(plan: Planner, project: Path) -> Plan:
    text = 'FROM --platform=linux/amd64 a AS "odd"\n'.replace('"', "") + "FROM odd\nRUN gcc -m64 x.c\n"
    write(project / "app", Dockerfile=text + "COPY --from=e.x/b /x /\nRUN curl https://e.x/f-amd64\n")
    write(project / "b", Dockerfile="FROM a\n")
    return plan("./app", Images({"a": BOTH}), sources=(f"e.x/b={project}/b",))


def test_the_tree_tells_each_image_once(plan: Planner, project: Path) -> None:
    assert list(tree_lines(example(plan, project))) == [
        f"localhost/app:latest linux/arm64  rebuild     your folder: {project}/app/Dockerfile",
        "├─ a:latest linux/arm64           reuse       there for linux/arm64",
        f"└─ e.x/b:latest linux/arm64       rebuild     its source was given: {project}/b/Dockerfile",
        "   └─ a:latest linux/arm64        reuse       there for linux/arm64",
    ]


def test_findings_are_told_with_the_diff(plan: Planner, project: Path) -> None:
    made = example(plan, project)
    lines = list(finding_lines(made))
    assert "  rewritten Dockerfile:3: compiler option -m64" in lines
    assert "  to do     Dockerfile:5: fetches a file for amd64: https://e.x/f-amd64" in lines
    assert "    -RUN gcc -m64 x.c" in lines
    assert summary(made) == "1 reuse, 2 rebuild, 1 finding to do"


def test_a_plan_goes_through_json(plan: Planner, project: Path) -> None:
    made = example(plan, project)
    assert json.decode(json.encode(made), Plan) == made


def test_a_picture_in_graphviz_words(plan: Planner, project: Path) -> None:
    text = dot_text(example(plan, project))
    assert text.startswith("digraph port {\n")
    assert 'label="e.x/b:latest\\nlinux/arm64\\nrebuild"' in text
    assert text.count(" -> ") == 3
    assert text.count('"') % 2 == 0


def test_dot_makes_the_picture(
    plan: Planner, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = example(plan, project)
    with pytest.raises(UserError) as caught:
        monkeypatch.setattr("skiff.host.run.which", lambda _: None)
        svg_text(made)
    assert "graphviz" in caught.value.hint
    monkeypatch.undo()
    dot = tmp_path / "bin" / "dot"
    dot.parent.mkdir()
    dot.write_text('#!/bin/sh\n[ "$1" = -Tsvg ] && exec sed "s/^digraph/<svg>&/"\n')
    dot.chmod(dot.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{dot.parent}:{os.environ['PATH']}")
    assert svg_text(made).startswith(b"<svg>digraph port")
