"""Config packages of SkiffOS: read as they are, ordered as SkiffOS orders them, turned into layers."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from skiff.__main__ import main
from skiff.builders.buildroot import skiffos as parts
from skiff.builders.buildroot.commands import package_commands, run_package_command
from skiff.builders.buildroot.external import Places, explain, plan, write_external
from skiff.builders.buildroot.fragments import read
from skiff.host.errors import UserError
from skiff.layers import available, checkout_recipe, load, resolve, search_path
from skiff.layers.imported import import_package
from skiff.model.arch import Arch
from skiff.model.recipe import LayerRef, Recipe
from tests.unit.layer_tree import LayerTree


def write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def package(folder: Path, *, description: str = "", needs: str = "") -> Path:
    """A config package with a description and dependencies."""
    write(folder / "metadata/description", f"{description or folder.name}\n")
    if needs:
        write(folder / "metadata/dependencies", f"{needs}\n")
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A SkiffOS of three packages, its base, and its overrides."""
    root = tmp_path / "SkiffOS"
    write(root / "configs-base/pre/buildroot/base", "BR2_x86_64=y\nBR2_PACKAGE_NANO=y\n")
    write(root / "configs-base/pre/hooks/pre.sh", "#!/bin/sh\n", 0o755)
    write(
        root / "configs-base/post/buildroot/config",
        'BR2_LINUX_KERNEL_CONFIG_FRAGMENT_FILES="REPLACEME_KERNEL_FRAGMENTS"\n'
        'BR2_ROOTFS_OVERLAY="REPLACEME_ROOTFS_OVERLAY"\n'
        'BR2_ROOTFS_POST_BUILD_SCRIPT="REPLACEME_FINAL_CONFIG_DIR/pre_build.sh"\n'
        'BR2_ISSUE="REPLACEME_SKIFF_VERSION (REPLACEME_SKIFF_VERSION_COMMIT)"\n',
    )
    write(root / "overrides/buildroot/mine", "# BR2_PACKAGE_NANO is not set\n")
    (root / "overrides/workspaces/pi/kernel").mkdir(parents=True)
    write(root / "overrides/workspaces/pi/kernel/own", "CONFIG_C=y\n")
    board = package(root / "configs/odroid/xu", needs="odroid/common, apps/docker")
    write(board / "kernel/10-first", 'CONFIG_A=y\nCONFIG_FILE="SKIFF_CONFIG_ROOT/x"\n')
    write(board / "kernel/20-second", "CONFIG_A=m\n")
    write(board / "cflags/01-arch", "# for the board\n-mcpu=cortex-a15\n")
    (board / "root_overlay/etc").mkdir(parents=True)
    common = package(root / "configs/odroid/common")
    write(common / "metadata/unlisted", "")
    write(common / "metadata/commands", "install Installs to a card.\nbroken\n")
    write(common / "extensions/Makefile", "install:\n\t@echo $(SKIFF_CURRENT_CONF_NAME) >$(OUT)\n")
    package(root / "configs/apps/docker", needs="apps/runc")
    package(root / "configs/apps/runc")
    return root


def made(checkout: Path, *names: str, workspace: str = "default") -> Recipe:
    return checkout_recipe(checkout, names, [], workspace)


def places(root: Path) -> Places:
    return Places(root / "external", root / "output", root / "dl", root / "ccache")


def test_what_a_package_wants_comes_before_it_as_in_skiffos(checkout: Path) -> None:
    assert made(checkout, "odroid/xu").names == (
        "configs-base/pre",
        "odroid/common",
        "apps/runc",
        "apps/docker",
        "odroid/xu",
        "overrides",
        "overrides/workspaces/default",
        "configs-base/post",
    )


def test_what_is_asked_for_keeps_its_place(checkout: Path) -> None:
    names = made(checkout, "odroid/xu", "odroid/common").names[1:-3]
    assert names == ("apps/runc", "apps/docker", "odroid/xu", "odroid/common")


def test_an_unknown_package_is_named_with_its_variable(checkout: Path) -> None:
    with pytest.raises(UserError, match="no package 'odroid/zz'") as caught:
        made(checkout, "odroid/zz")
    assert "SKIFF_CONFIG_PATH_ODROID_ZZ" in caught.value.hint


def test_the_environment_names_another_folder(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = package(tmp_path / "mine")
    monkeypatch.setenv("SKIFF_CONFIG_PATH_ODROID_COMMON", str(mine))
    assert {layer.name: layer.path for layer in made(checkout, "odroid/xu").layers}["odroid/common"] == mine
    monkeypatch.setenv("SKIFF_CONFIG_PATH_ODROID_COMMON", str(tmp_path / "gone"))
    with pytest.raises(UserError, match="gone: no such folder"):
        made(checkout, "odroid/xu")


def test_the_merged_configuration_is_that_of_all_in_order(checkout: Path, tmp_path: Path) -> None:
    recipe = made(checkout, "odroid/xu", workspace="pi")
    folder = places(tmp_path)
    values = read(write_external(recipe, plan(recipe), folder).read_text())
    assert values["BR2_PACKAGE_NANO"] == "n"
    assert values["BR2_LINUX_KERNEL_CONFIG_FRAGMENT_FILES"] == f'"{folder.external}/kernel.config"'
    assert values["BR2_ROOTFS_OVERLAY"] == f'"{checkout}/configs/odroid/xu/root_overlay"'
    assert values["BR2_ISSUE"] == '"unknown (unknown)"'
    assert values["BR2_TARGET_OPTIMIZATION"] == '"-mcpu=cortex-a15 "'
    kernel = read((folder.external / "kernel.config").read_text())
    assert kernel == {"CONFIG_A": "m", "CONFIG_FILE": f'"{checkout}/configs/odroid/xu/x"', "CONFIG_C": "y"}


def test_every_script_is_known_before_it_runs(checkout: Path, tmp_path: Path) -> None:
    recipe = made(checkout, "odroid/xu")
    hook = checkout / "configs-base/pre/hooks/pre.sh"
    assert parts.scripts(recipe) == [hook]
    write_external(recipe, plan(recipe), places(tmp_path))
    script = tmp_path / "external/pre_build.sh"
    assert script.stat().st_mode & 0o111
    text = script.read_text()
    assert f"SKIFF_CURRENT_CONF_DIR={checkout}/configs-base/pre {hook}" in text
    assert f"export SKIFF_CONFIG_PATH_ODROID_XU={checkout}/configs/odroid/xu\n" in text
    assert "export SKIFF_CONFIG=odroid/common,apps/runc,apps/docker,odroid/xu\n" in text


def test_packages_among_our_layers_find_their_workspace(tmp_path: Path) -> None:
    folder = tmp_path / "workspaces/kiosk/buildroot"
    recipe = Recipe(Arch.ARM64, (LayerRef("my/board", package(tmp_path / "my/board"), skiffos=True),))
    found = parts.environment(recipe, folder / "output", folder / "external")
    assert found["SKIFF_WORKSPACE"] == "kiosk"
    assert found["SKIFF_CONFIG"] == "my/board"


def test_commands_run_with_what_they_expect(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = made(checkout, "odroid/xu")
    assert package_commands(recipe) == [("odroid/common/install", "Installs to a card.")]
    out = tmp_path / "out"
    monkeypatch.setenv("OUT", str(out))
    said: list[str] = []
    run_package_command(recipe, "odroid/common/install", places(tmp_path), said.append)
    assert out.read_text() == "odroid/common\n"
    assert said == [f"running make install in {checkout}/configs/odroid/common/extensions"]
    with pytest.raises(UserError, match="has a command odroid/comon/install") as caught:
        run_package_command(recipe, "odroid/comon/install", places(tmp_path), said.append)
    assert caught.value.hint == "did you mean odroid/common/install?"


def test_a_package_is_a_layer_among_ours(tree: LayerTree, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tree.root / "mine"
    board = package(mine / "my/board", description="A board", needs="my/more")
    write(board / "buildroot/tools", "BR2_PACKAGE_HTOP=y\n")
    write(board / "users/one", "me 1000 me 1000 ! /home/me /bin/sh - Me\n")
    write(package(mine / "my/more") / "metadata/unlisted", "")
    monkeypatch.setenv("SKIFF_EXTRA_CONFIGS_PATH", str(mine))
    search = search_path()
    files = [load(LayerRef(name, path)).file for name, path in available(search).items() if "my/" in name]
    assert [(file.description, file.listed) for file in files] == [("A board", True), ("more", False)]
    recipe = resolve(["my/board"], Arch.ARM64, search, builder="buildroot")
    assert recipe.names == ("base", "my/more", "my/board")
    assert explain(recipe, "BR2_PACKAGE_HTOP") == [("buildroot", "y", "my/board")]
    write_external(recipe, plan(recipe), places(tree.root))
    assert "me 1000 me 1000 ! /home/me /bin/sh - Me\n" in (tree.root / "external/users").read_text()


def test_a_wrong_dependency_is_named_with_its_file(tree: LayerTree) -> None:
    package(tree.root / "mine/my/board", needs="nonsense")
    with pytest.raises(UserError, match="metadata/dependencies: 'nonsense': not a package's name"):
        resolve(["./mine/my/board"], Arch.ARM64, tree.search, builder="buildroot")


def test_import_tells_what_became_of_every_part(checkout: Path, tmp_path: Path) -> None:
    board = checkout / "configs/odroid/xu"
    write(board / "root_overlay/etc/systemd/system/a.service", "[Service]\n")
    write(board / "root_overlay/etc/motd", "hello\n")
    layer, report = import_package(board, tmp_path / "layers")
    assert {(part.name, part.fate) for part in report} == {
        ("metadata", "translated"),
        ("kernel", "kept"),
        ("root_overlay", "translated"),
        ("root_overlay/etc/systemd", "left"),
        ("cflags", "left"),
    }
    assert tomllib.loads((layer / "layer.toml").read_text()) == {
        "description": "xu",
        "requires": ["odroid/common", "apps/docker"],
    }
    assert (layer / "rootfs/etc/motd").read_text() == "hello\n"
    assert not (layer / "rootfs/etc/systemd").exists()
    assert read((layer / "kernel/20-second.config").read_text()) == {"CONFIG_A": "m"}
    with pytest.raises(UserError, match="there is such a layer already"):
        import_package(board, tmp_path / "layers")
    with pytest.raises(UserError, match="no config package"):
        import_package(checkout, tmp_path / "layers")


@pytest.mark.parametrize(("link", "target", "left"), [("lib", "", False), ("etc/systemd", "systemd", True)])
def test_import_removes_nothing_that_a_link_of_the_overlay_leads_to(
    checkout: Path, tmp_path: Path, link: str, target: str, left: bool
) -> None:
    board = checkout / "configs/odroid/xu"
    write(tmp_path / "host/systemd/system/a.service", "[Service]\n")
    (board / "root_overlay" / link).symlink_to(tmp_path / "host" / target)
    layer, report = import_package(board, tmp_path / "layers")
    assert (tmp_path / "host/systemd/system/a.service").exists()
    assert (layer / "rootfs" / link).is_symlink() != left
    assert [part.name for part in report if "systemd" in part.name] == ["root_overlay/etc/systemd"] * left


def test_configure_tells_the_cpu_of_the_board(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SKIFF_WORKSPACES", str(tmp_path / "workspaces"))
    write(checkout / "configs/odroid/xu/buildroot/board", "BR2_arm=y\nBR2_cortex_a15_a7=y\n")
    assert main(["configure", "odroid/xu", "--skiffos", str(checkout)]) == 0
    assert "cpu        arm\n" in capsys.readouterr().out
    # Its base chooses one where no package does.
    assert main(["configure", "apps/docker", "--skiffos", str(checkout)]) == 0
    assert "cpu        x86_64\n" in capsys.readouterr().out
