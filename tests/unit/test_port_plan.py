"""Plans: from an image down to what is there for the CPU or can be made, and the order to build in."""

from __future__ import annotations

from pathlib import Path

import pytest

from skiff.host.errors import UserError
from skiff.host.run import run
from skiff.model.oci import ImageConfig, RunConfig
from skiff.model.port import Action, GitSource, LocalSource, Node, Platform
from skiff.port.graph import source_folder
from skiff.port.reference import parse_reference
from skiff.port.sources import Sources
from tests.unit.port_world import ARM64, Images, actions, commit, plan_of, root, write

BOTH = ("amd64", "arm64")


def test_what_is_there_is_taken(tmp_path: Path) -> None:
    plan = plan_of("debian:trixie", Images({"debian:trixie": BOTH}), tmp_path)
    assert actions(plan) == {"debian:trixie linux/arm64": "reuse"}
    assert root(plan).found == ARM64


def test_an_older_variant_is_taken_for_a_newer_cpu(tmp_path: Path) -> None:
    plan = plan_of("a/b", Images({"a/b": ("arm/v6", "arm/v5")}), tmp_path, platforms=("armhf",))
    assert root(plan).action is Action.REUSE
    assert str(root(plan).found) == "linux/arm/v6"
    assert root(plan).why == "there for linux/arm/v6, which runs on linux/arm/v7"


def test_every_stage_s_images_are_found(tmp_path: Path) -> None:
    text = (
        "ARG V=1\nARG B=debian:trixie\n"
        "FROM --platform=$BUILDPLATFORM golang:${V:-2} AS build\n"
        "RUN --mount=from=tools:1,target=/t --mount=type=cache,target=/c make\n"
        "FROM unused:1 AS not-needed\n"
        "FROM $B AS base\n"
        "FROM base\n"
        "COPY --from=build /a /a\nCOPY --from=0 /b /b\n"
        "COPY --from=other:1@sha256:" + "0" * 64 + " /c /c\n"
        "COPY --from=scratch / /\n"
    )
    there = {
        "golang:1": BOTH,
        "tools:1": BOTH,
        "debian:trixie": BOTH,
        "other:1@sha256:" + "0" * 64: BOTH,
    }
    plan = plan_of(write(tmp_path / "app", Dockerfile=text), Images(there), tmp_path)
    assert actions(plan) == {
        "golang:1 linux/amd64": "reuse",
        "tools:1 linux/arm64": "reuse",
        "debian:trixie linux/arm64": "reuse",
        f"other:1@sha256:{'0' * 64} linux/arm64": "reuse",
        "localhost/app:latest linux/arm64": "rebuild",
    }
    parents = [(parent.written, parent.instruction, parent.line) for parent in root(plan).parents]
    assert parents[:3] == [("golang:1", "FROM", 3), ("tools:1", "RUN", 4), ("debian:trixie", "FROM", 6)]
    assert isinstance(root(plan).source, LocalSource)


def test_nodes_stand_behind_what_they_need(tmp_path: Path) -> None:
    library = _library(tmp_path)
    plan = plan_of("top", Images({"bottom": ("amd64",)}, bases=("bottom",)), tmp_path, library=library)
    places = [node.id for node in plan.nodes]
    for node in plan.nodes:
        assert all(places.index(parent.node) < places.index(node.id) for parent in node.parents)
    assert actions(plan) == {
        "bottom:latest linux/arm64": "synthesise",
        "middle:1 linux/arm64": "rebuild",
        "top:latest linux/arm64": "rebuild",
    }


def _library(folder: Path) -> Path:
    """A library of three images on top of each other, with a field for one CPU."""
    source = folder / "source"
    write(source / "top", Dockerfile="FROM middle:1\nRUN top\n")
    write(source / "middle", Dockerfile="FROM other\n")
    write(source / "middle-arm", Dockerfile="FROM bottom\nRUN middle\n")
    made = commit(source)
    first = f"Maintainers: A <a@e.x> (@a),\n  B (@b)\nGitRepo: {source}\nGitCommit: {made}\n"
    write(folder / "lib" / "library", top=f"{first}\nTags: 1, latest\nDirectory: top\n")
    write(
        folder / "lib" / "library",
        middle=f"# c\n{first}\nTags: 1\nArchitectures: amd64, arm64v8\nDirectory: middle\n"
        "arm64v8-Directory: middle-arm\n",
    )
    return folder / "lib"


def test_the_library_s_source_is_that_of_the_cpu(tmp_path: Path) -> None:
    library = _library(tmp_path)
    images = Images(bases=("bottom", "other"))
    plan = plan_of("middle:1", images, tmp_path, library=library, platforms=("arm64", "amd64"))
    folders = [
        (str(node.platform), node.source.directory)
        for node in plan.nodes
        if isinstance(node.source, GitSource)
    ]
    assert sorted(folders) == [("linux/amd64", "middle"), ("linux/arm64", "middle-arm")]


def test_a_library_can_be_a_repository(tmp_path: Path) -> None:
    library = _library(tmp_path)
    commit(library)
    (library / "library" / "top").unlink()
    plan = plan_of("top", Images(bases=("bottom",)), tmp_path, library=Path(f"{library}#main"))
    assert root(plan).action is Action.REBUILD


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a server that has what is in the test's folder."""
    for name, value in (("COUNT", "1"), ("KEY_0", f"url.{tmp_path}/.insteadOf"), ("VALUE_0", "ssh://e.x/")):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    return "ssh://e.x"


def _labelled(place: str, revision: str = "") -> Images:
    """An image whose labels name its source."""
    labels = {"org.opencontainers.image.source": place, "org.opencontainers.image.revision": revision}
    return Images({"top": ("amd64",)}, {"top": ImageConfig(config=RunConfig(labels=labels))}, ("bottom",))


def test_sources_are_looked_for_in_order(tmp_path: Path, elsewhere: str) -> None:
    library = _library(tmp_path)
    labelled, given = tmp_path / "labelled", tmp_path / "given"
    write(labelled / "sub", Dockerfile="FROM bottom\nRUN labelled\n")
    revision = commit(labelled)
    write(given, Dockerfile="FROM bottom\nRUN given\n")
    images = _labelled(f"{elsewhere}/labelled#main:sub", revision)
    assert (
        "RUN given" in root(plan_of("top", images, tmp_path, library=library, given={"top": str(given)})).text
    )
    assert "RUN labelled" in root(plan_of("top", images, tmp_path, library=library)).text
    unlabelled = Images({"top": ("amd64",)}, {}, ("bottom",))
    assert "RUN top" in root(plan_of("top", unlabelled, tmp_path, library=library)).text


@pytest.mark.parametrize("place", ["{0}#main:a/b", "file://{0}#main:a/b", "{0}#{1}:a/b/Containerfile"])
def test_a_source_can_be_given_as_an_address(tmp_path: Path, place: str) -> None:
    repository = tmp_path / "r"
    write(repository / "a" / "b", Containerfile="FROM scratch\nCOPY x /\n", x="1")
    made = commit(repository)
    given = {"e.x/app": place.format(repository, made)}
    plan = plan_of("e.x/app:2", Images(), tmp_path, given=given)
    source = root(plan).source
    assert isinstance(source, GitSource)
    assert (source.commit, source.directory, source.file) == (made, "a/b", "Containerfile")


def test_a_source_with_submodules_is_refused(tmp_path: Path) -> None:
    """Their files would not be there, and COPY of a folder around them says nothing."""
    source = tmp_path / "source"
    for place in (source, source / "app", source / "other"):
        write(place, Dockerfile="FROM a\nCOPY . /x\n")
    module = commit(write(tmp_path / "module", x="1"))
    commit(source)
    run(["git", "-C", source, "update-index", "--add", "--cacheinfo", f"160000,{module},app/lib"])
    (source / "app" / "lib").mkdir()
    commit(source)
    images = Images({"a": BOTH})
    for folder in ("", ":app"):
        with pytest.raises(UserError) as caught:
            plan_of("e.x/b", images, tmp_path, given={"e.x/b": f"{source}#main{folder}"})
        assert caught.value.message.endswith("it has submodules, which are not fetched: app/lib")
        assert "--source" in caught.value.hint
    plan = plan_of("e.x/b", images, tmp_path, given={"e.x/b": f"{source}#main:other"})
    assert root(plan).action is Action.REBUILD


def test_a_label_that_leads_nowhere_is_told_and_passed_over(tmp_path: Path, elsewhere: str) -> None:
    images = _labelled(f"{elsewhere}/gone#x:.")
    assert root(plan_of("top", images, tmp_path, library=_library(tmp_path))).action is Action.REBUILD


@pytest.mark.parametrize("place", ["{0}", "{0}#main", "file://{0}", "file://{0}#main", "r", "./x:/../r"])
def test_a_label_names_no_folder_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    repository = tmp_path / "r"
    commit(write(repository, Dockerfile="FROM bottom\nRUN mine\n"))
    monkeypatch.chdir(tmp_path)
    images = _labelled(place.format(repository))
    assert "RUN top" in root(plan_of("top", images, tmp_path, library=_library(tmp_path))).text


@pytest.mark.parametrize("place", ["{0}", f"x/{'../' * 40}{{0}}"])
def test_a_source_s_folder_is_one_of_its_repository(tmp_path: Path, elsewhere: str, place: str) -> None:
    mine = write(tmp_path / "mine", id="PRIVATE")
    write(tmp_path / "r" / str(mine)[1:], Dockerfile="FROM bottom\nCOPY . /\n")
    commit(tmp_path / "r")
    node = root(plan_of("top", _labelled(f"{elsewhere}/r#main:{place.format(mine)}"), tmp_path))
    sources = Sources({}, "", tmp_path)
    folder = source_folder(node, sources)
    sources.close()
    assert folder is not None and [path.name for path in folder.iterdir()] == ["Dockerfile"]


def test_a_source_s_folder_that_is_a_link_out_of_its_repository_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "r", Dockerfile="FROM bottom\n")
    (tmp_path / "r" / "link").symlink_to(write(tmp_path / "mine", id="PRIVATE"))
    source = GitSource(str(tmp_path / "r"), commit(tmp_path / "r"), "link")
    node = Node("top", parse_reference("top"), ARM64, Action.REBUILD, "", source=source)
    sources = Sources({}, "", tmp_path)
    with pytest.raises(UserError, match="link leads out of it"):
        source_folder(node, sources)
    sources.close()


def test_what_is_missing_says_why(tmp_path: Path) -> None:
    app = write(
        tmp_path / "app",
        Dockerfile="FROM nowhere:1\nCOPY --from=e.x/half /a /b\nCOPY --from=ubuntu:24.04 /a /\n",
    )
    config = ImageConfig(config=RunConfig())
    plan = plan_of(app, Images({"e.x/half": ("amd64",)}, {"e.x/half": config}), tmp_path, ground_up=True)
    assert [(node.reference.short, node.why) for node in plan.missing] == [
        ("nowhere:1", "no registry that answers has it, and its source is not known"),
        (
            "e.x/half:latest",
            "there for linux/amd64 only; its source is not known, nor the image that it is based on",
        ),
        ("ubuntu:24.04", "no registry that answers has it, and no archive that answers has its packages"),
    ]


def test_a_finished_image_of_the_library_is_for_its_cpus_only(tmp_path: Path) -> None:
    made = commit(write(tmp_path / "oci", index_json="{}"))
    entry = "Tags: 1\nArchitectures: amd64, arm64v8\nBuilder: oci-import\nFile: index.json\n"
    write(
        tmp_path / "lib", base=f"Maintainers: A (@a)\n\n{entry}GitRepo: {tmp_path}/oci\nGitCommit: {made}\n"
    )
    plan = plan_of("base:1", Images(), tmp_path, library=tmp_path / "lib")
    assert (root(plan).action, root(plan).builder) == (Action.REBUILD, "oci-import")
    plan = plan_of("base:1", Images(), tmp_path, library=tmp_path / "lib", platforms=("s390x",))
    assert plan.missing[0].why == (
        "no registry that answers has it, and the official library only for amd64, arm64v8"
    )


def test_from_the_ground_up_nothing_is_reused_that_can_be_made(tmp_path: Path) -> None:
    images = Images({"top": BOTH, "middle:1": BOTH, "bottom": BOTH, "x": BOTH}, bases=("bottom",))
    library = _library(tmp_path)
    assert len(plan_of("top", images, tmp_path, library=library).nodes) == 1
    plan = plan_of("top", images, tmp_path, library=library, ground_up=True)
    assert list(actions(plan).values()) == ["synthesise", "rebuild", "rebuild"]
    assert root(plan_of("x", images, tmp_path, ground_up=True)).action is Action.REUSE


def test_a_digest_of_another_cpu_gives_way_to_the_tag(tmp_path: Path) -> None:
    pinned = "debian:trixie@sha256:" + "1" * 64
    app = write(tmp_path / "app", Dockerfile=f"FROM {pinned}\n")
    plan = plan_of(app, Images({pinned: ("amd64",), "debian:trixie": BOTH}), tmp_path)
    node = next(node for node in plan.nodes if node.reference.digest)
    assert node.action is Action.REUSE
    assert "debian:trixie instead" in node.why


def test_triggers_of_a_base_need_images_too(tmp_path: Path) -> None:
    config = ImageConfig(config=RunConfig(on_build=("COPY --from=extra:1 /a /b", "RUN make")))
    images = Images({"base": BOTH, "extra:1": BOTH}, {"base": config})
    app = write(tmp_path / "app", Dockerfile="FROM base\n")
    assert "extra:1 linux/arm64" in actions(plan_of(app, images, tmp_path))
    # A stage's own triggers are set off by the stages on it.
    text = "FROM plain AS a\nONBUILD COPY --from=extra:1 /a /b\nFROM a\n"
    images = Images({"plain": BOTH, "extra:1": BOTH})
    assert "extra:1 linux/arm64" in actions(plan_of(write(tmp_path / "b", Dockerfile=text), images, tmp_path))


def test_a_circle_is_told_with_all_its_images(tmp_path: Path) -> None:
    given = {
        name: str(write(tmp_path / name, Dockerfile=f"FROM {other}\n"))
        for name, other in (("e.x/a", "e.x/b"), ("e.x/b", "e.x/c"), ("e.x/c", "e.x/a"))
    }
    with pytest.raises(UserError) as caught:
        plan_of("e.x/a", Images(), tmp_path, given=given)
    assert "in a circle: " in caught.value.message
    assert all(f"e.x/{name}:latest" in caught.value.message for name in "abc")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM a AS build\nFROM a\nCOPY --from=biuld /x /y", "3:6: there is no stage biuld, and no image"),
        ("FROM a\nCOPY --from=1 /x /y", "2:6: there is no stage 1 before this one"),
        ("FROM a\nCOPY --from=² /x /y", "2:6: '²': not the name of an image"),
        ("FROM a AS b\nCOPY --from=b /x /y", "2:6: stage b is this one"),
        ("FROM a AS b\nCOPY --from=c /x /y\nFROM a AS c\nFROM b", "2:6: stage c comes later"),
        ("FROM a\nRUN \\\n --mount=from=x,target=/y z", "3:2: there is no stage x, and no image"),
        ("FROM $X", "1:6: $X: becomes empty"),
        ("ARG X=${Y\nFROM a", "1:9: ${Y: missing '}'"),
        ("FROM a:b:c", "1:6: 'a:b:c': not the name of an image"),
        ("FROM UPPER/case_", "1:6: 'UPPER/case_': not the name of an image"),
        ("FROM --platform=linux/a/b/c/d a", "1:6: --platform=linux/a/b/c/d: not a platform"),
    ],
)
def test_mistakes_are_told_by_line_and_column(tmp_path: Path, text: str, message: str) -> None:
    app = write(tmp_path / "app", Dockerfile=text)
    with pytest.raises(UserError) as caught:
        plan_of(app, Images({"a": BOTH}), tmp_path)
    assert caught.value.message.startswith(f"{app}/Dockerfile:{message}")


def test_a_context_of_the_builder_can_be_given_as_an_image(tmp_path: Path) -> None:
    app = write(tmp_path / "app", Dockerfile="FROM a\nCOPY --from=parts /x /\n")
    with pytest.raises(UserError) as caught:
        plan_of(app, Images({"a": BOTH}), tmp_path)
    assert "--source NAME=FOLDER" in caught.value.hint
    parts = write(tmp_path / "parts", Dockerfile="FROM scratch\nCOPY . /\n", x="1")
    plan = plan_of(app, Images({"a": BOTH}), tmp_path, given={"parts": str(parts)})
    assert actions(plan)["parts:latest linux/arm64"] == "rebuild"


def test_a_stage_can_be_asked_for(tmp_path: Path) -> None:
    app = write(tmp_path / "app", Dockerfile="FROM a AS one\nFROM b AS two\n")
    images = Images({"a": BOTH, "b": BOTH})
    assert "b:latest linux/arm64" not in actions(plan_of(app, images, tmp_path, target="one"))
    assert "a:latest linux/arm64" not in actions(plan_of(app, images, tmp_path, target="1"))
    with pytest.raises(UserError, match="there is no stage tow") as caught:
        plan_of(app, images, tmp_path, target="tow")
    assert caught.value.hint == "did you mean two?"


def test_arguments_are_those_of_the_image_asked_for(tmp_path: Path) -> None:
    app = write(tmp_path / "app", Dockerfile="ARG V=1\nFROM a:$V\n")
    plan = plan_of(app, Images({"a:2": BOTH}), tmp_path, args={"V": "2"})
    assert "a:2 linux/arm64" in actions(plan)
    assert root(plan).args == {"V": "2"}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{0}/gone#main", "there is no main"),
        ("{0}/r#nosuch", "there is no nosuch"),
        ("{0}/r#main:nosuch", "there is no Dockerfile"),
        ("{0}/gone", "there is no such folder"),
        ("--upload-pack=x#y", "not an address of a repository"),
    ],
)
def test_a_source_that_cannot_be_had(tmp_path: Path, source: str, message: str) -> None:
    commit(write(tmp_path / "r", x="1"))
    with pytest.raises(UserError) as caught:
        plan_of("e.x/a", Images(), tmp_path, given={"e.x/a": source.format(tmp_path)})
    assert message in caught.value.message


def test_long_chains_of_images_are_no_trouble(tmp_path: Path) -> None:
    given = {
        f"e.x/i{number}": str(write(tmp_path / f"i{number}", Dockerfile=f"FROM e.x/i{number + 1}\n"))
        for number in range(1200)
    }
    plan = plan_of("e.x/i0", Images({"e.x/i1200": BOTH}), tmp_path, given=given)
    assert len(plan.nodes) == 1201
    assert plan.nodes[-1].reference == parse_reference("e.x/i0")


def test_windows_is_told_to_be_missing(tmp_path: Path) -> None:
    plan = plan_of("a", Images({"a": ("windows/amd64",)}, {"a": ImageConfig()}), tmp_path, ground_up=True)
    assert plan.missing[0].platform == Platform.parse("arm64")
