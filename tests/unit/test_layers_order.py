"""Which layers a recipe has, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from skiff.host.errors import UserError
from skiff.layers import Search, available, override_folders, resolve, search_path
from skiff.model.arch import Arch
from tests.unit.layer_tree import LayerTree


def test_base_comes_first_without_being_asked_for(tree: LayerTree) -> None:
    tree.add("a/one")
    assert tree.resolve("a/one").names == ("base", "a/one")
    assert tree.resolve("a/one", "base").names == ("base", "a/one")


def test_order_asked_for_is_kept_and_nothing_comes_twice(tree: LayerTree) -> None:
    for name in ("z/one", "a/two", "m/three"):
        tree.add(name)
    assert tree.resolve("z/one", "a/two", "z/one", "m/three").names == ("base", "z/one", "a/two", "m/three")


def test_required_layers_come_before_those_that_require_them(tree: LayerTree) -> None:
    tree.add("a/top", 'requires = ["a/left", "a/right"]')
    tree.add("a/left", 'requires = ["a/bottom"]')
    tree.add("a/right", 'requires = ["a/bottom"]')
    tree.add("a/bottom")
    assert tree.resolve("a/top").names == ("base", "a/bottom", "a/left", "a/right", "a/top")


def test_circle_is_named_from_where_it_begins(tree: LayerTree) -> None:
    tree.add("a/in", 'requires = ["a/x"]')
    tree.add("a/x", 'requires = ["a/y"]')
    tree.add("a/y", 'requires = ["a/x"]')
    message, _ = tree.error("a/in")
    assert message == "layers require each other in a circle: a/x → a/y → a/x"


def test_layer_that_requires_itself_is_a_circle(tree: LayerTree) -> None:
    tree.add("a/x", 'requires = ["a/x"]')
    assert tree.error("a/x")[0] == "layers require each other in a circle: a/x → a/x"


def test_unknown_layer_comes_with_the_nearest_names(tree: LayerTree) -> None:
    tree.add("virt/qemu")
    message, hint = tree.error("virt/qmu")
    assert message == "unknown layer 'virt/qmu'"
    assert hint == "did you mean virt/qemu? `skiff layers --all` lists what there is"


def test_half_of_a_name_is_enough_for_a_guess(tree: LayerTree) -> None:
    tree.add("engine/docker")
    assert "did you mean engine/docker?" in tree.error("docker")[1]


@pytest.mark.parametrize("asked", ["odroid/hc2", "HC2", "odroid/xu3"])
def test_a_board_is_found_by_its_own_name(tree: LayerTree, asked: str) -> None:
    tree.add("odroid/hc4", 'description = "ODROID-HC4"')
    tree.add("odroid/xu", 'description = "ODROID-XU3, XU4, HC1 and HC2 (Exynos 5422)"')
    tree.add("broken/one", "description =")
    assert tree.error(asked)[1].startswith("did you mean odroid/xu? ")


def test_a_layer_is_found_in_another_namespace(tree: LayerTree) -> None:
    # `apps/docker` is SkiffOS's.
    tree.add("engine/docker")
    tree.add("apps/cluster", 'description = "Docker Swarm"')
    assert tree.error("apps/docker")[1].startswith("did you mean engine/docker? ")


def test_a_namespace_alone_names_what_one_would_choose(tree: LayerTree) -> None:
    for name in ("c2", "c4", "n2", "xu"):
        tree.add(f"odroid/{name}")
    tree.add("odroid/amlogic", "listed = false")
    assert tree.error("odroid")[1].startswith("did you mean odroid/c2, odroid/c4, odroid/n2 or odroid/xu? ")


@pytest.mark.parametrize("name", ["", "a/b/c", "a/../base", "-x", "a b"])
def test_odd_words_are_unknown_layers(tree: LayerTree, name: str) -> None:
    assert tree.error(name)[0] == f"unknown layer {name!r}"


def test_unknown_requirement_names_the_file_that_wants_it(tree: LayerTree) -> None:
    tree.add("a/one", 'requires = ["a/two"]')
    assert tree.error("a/one")[0] == "layers/a/one/layer.toml: requires: unknown layer 'a/two'"


@pytest.mark.parametrize("sayer", ["e/one", "e/two"])
@pytest.mark.parametrize("names", [("e/one", "e/two"), ("e/two", "e/one")])
def test_conflict_is_found_whoever_says_so(tree: LayerTree, sayer: str, names: tuple[str, str]) -> None:
    other = {"e/one": "e/two", "e/two": "e/one"}[sayer]
    tree.add(sayer, f'conflicts = ["{other}"]')
    tree.add(other)
    message, hint = tree.error(*names)
    assert message == (
        f"layers {names[0]} and {names[1]} exclude each other (conflicts in layers/{sayer}/layer.toml)"
    )
    assert hint == "leave one of them out"


def test_conflict_of_a_required_layer_tells_who_brought_it(tree: LayerTree) -> None:
    tree.add("e/one", 'conflicts = ["e/two"]')
    tree.add("e/two")
    tree.add("a/app", 'requires = ["e/two"]')
    assert tree.error("e/one", "a/app")[1] == "leave one of them out; e/two is required by a/app"


def test_layer_that_needs_one_of_several_says_which(tree: LayerTree) -> None:
    tree.add("e/one")
    tree.add("e/two")
    tree.add("a/app", 'requires_one = ["e/one", "e/two"]')
    tree.add("a/top", 'requires = ["a/app"]')
    message, hint = tree.error("a/app")
    assert message == "layer a/app needs e/one or e/two"
    assert hint == "name one of them too, as in a/app,e/one"
    assert tree.error("a/top")[1] == "name one of them too, as in a/top,e/one; a/app is required by a/top"
    assert tree.resolve("a/top", "e/two").names == ("base", "a/app", "a/top", "e/two")


@pytest.mark.parametrize("name", ["apps/core", "apps/crew", "core/debian"])
def test_apps_and_environments_need_an_engine(name: str) -> None:
    # An image without one would build, and do nothing of what the layer says.
    with pytest.raises(UserError, match="needs engine/docker or engine/podman"):
        resolve(("virt/qemu", name), Arch.AMD64, search_path())


def test_wrong_cpu_names_layer_and_remedy(tree: LayerTree) -> None:
    tree.add("odroid/c2", 'arch = ["arm64"]')
    message, hint = tree.error("odroid/c2")
    assert message == "layer odroid/c2 is for arm64, not for amd64"
    assert hint == "build with --arch arm64, or leave the layer out"


def test_cpu_follows_from_the_layers(tree: LayerTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Arch, "host", lambda: Arch.AMD64)
    tree.add("odroid/c2", 'arch = ["arm64"]')
    tree.add("virt/any")
    assert tree.resolve("odroid/c2", arch=None).arch is Arch.ARM64
    assert tree.resolve("virt/any", arch=None).arch is Arch.AMD64


def test_layers_for_different_cpus_do_not_go_together(tree: LayerTree) -> None:
    tree.add("b/one", 'arch = ["arm64"]')
    tree.add("b/two", 'arch = ["armhf"]')
    assert tree.error("b/one", "b/two", arch=None)[0] == (
        "no CPU suits all layers (b/one: arm64; b/two: armhf)"
    )


def test_layer_by_path(tree: LayerTree) -> None:
    ref = tree.add("my/app", 'requires = ["../dep"]', folder="elsewhere")
    tree.add("my/dep", folder="elsewhere")
    recipe = tree.resolve("./elsewhere/my/app")
    assert recipe.names == ("base", "my/dep", "my/app")
    assert recipe.layers[-1].path == ref.path
    assert tree.resolve(str(ref.path)).names == recipe.names


def test_path_without_layer(tree: LayerTree) -> None:
    (tree.root / "empty").mkdir()
    assert tree.error("./empty")[0] == "layer empty: no layer.toml in this folder"
    assert tree.error("./nowhere")[0] == "layer nowhere: no such folder"


def test_name_of_a_folder_without_layer(tree: LayerTree) -> None:
    (tree.root / "mine/app/hello").mkdir(parents=True)
    search = Search(builtin=tree.root / "layers", folders=(tree.root / "mine",))
    with pytest.raises(UserError, match=r"^layer mine/app/hello: no layer\.toml in this folder$"):
        tree.resolve("app/hello", search=search)


def test_two_paths_of_one_name(tree: LayerTree) -> None:
    tree.add("my/app", folder="one")
    tree.add("my/app", folder="two")
    assert tree.error("./one/my/app", "./two/my/app")[0].startswith("two layers are called my/app: ")


def test_folder_of_the_users_own_comes_before_the_built_in_ones(tree: LayerTree) -> None:
    tree.add("virt/qemu")
    mine = tree.add("virt/qemu", folder="mine")
    search = Search(builtin=tree.search.builtin, folders=(tree.root / "mine",))
    assert tree.resolve("virt/qemu", search=search).layers[-1].path == mine.path
    assert available(search)["virt/qemu"] == mine.path


def test_extra_paths_from_the_environment(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (project / name).mkdir()
    monkeypatch.setenv("SKIFF_EXTRA_CONFIGS_PATH", f"one:{project}/two:")
    assert search_path([Path("zero")]).folders == (project / "zero", project / "one", project / "two")


def test_missing_extra_path_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKIFF_EXTRA_CONFIGS_PATH", "gone")
    with pytest.raises(UserError, match="SKIFF_EXTRA_CONFIGS_PATH: gone: no such folder"):
        search_path()


def test_overrides_come_last_and_need_no_layer_toml(tree: LayerTree) -> None:
    tree.add("a/one")
    (tree.root / "overrides/rootfs/etc").mkdir(parents=True)
    workspace = tree.root / "overrides/workspaces/pi"
    workspace.mkdir(parents=True)
    (workspace / "layer.toml").write_text('[device]\nhostname = "mine"\n')
    recipe = tree.resolve("a/one", overrides=override_folders(tree.root, "pi"))
    assert recipe.names == ("base", "a/one", "overrides", "overrides/workspaces/pi")
    assert recipe.hostname == "mine"
    assert override_folders(tree.root, "other") == override_folders(tree.root, "pi")[:1]


def test_what_overrides_require_comes_before_them(tree: LayerTree) -> None:
    tree.add("a/one")
    tree.add("a/two")
    (tree.root / "overrides").mkdir()
    (tree.root / "overrides/layer.toml").write_text('requires = ["a/two"]\n')
    recipe = tree.resolve("a/one", overrides=override_folders(tree.root, "default"))
    assert recipe.names == ("base", "a/one", "a/two", "overrides")
