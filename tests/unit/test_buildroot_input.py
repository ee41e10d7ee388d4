"""What Buildroot is given for a recipe: merged fragments, users, sources, offline settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from skiff.builders.buildroot.external import Places, explain, plan, write_external
from skiff.builders.buildroot.fragments import Kind, collect, merge, read
from skiff.host.errors import UserError
from skiff.layers import resolve
from skiff.model.arch import Arch
from skiff.model.recipe import Recipe
from tests.unit.layer_tree import LayerTree


def places(root: Path) -> Places:
    return Places(root / "external", root / "output", root / "dl", root / "ccache")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def recipe(tree: LayerTree, *names: str, arch: Arch = Arch.ARM64) -> Recipe:
    return resolve(names, arch, tree.search, builder="buildroot")


def defconfig(tree: LayerTree, made: Recipe, *, offline: bool = False) -> dict[str, str]:
    return read(write_external(made, plan(made), places(tree.root), offline=offline).read_text())


def test_a_later_layer_wins_and_both_are_known(tree: LayerTree) -> None:
    base = tree.root / "layers/base/buildroot"
    write(base / "one.config", 'BR2_INIT_NONE=y\nBR2_TARGET_X="a b"\n# BR2_PACKAGE_NANO is not set\n')
    tree.add("my/app")
    write(tree.root / "layers/my/app/buildroot/app.config", "BR2_PACKAGE_NANO=y\n")
    made = recipe(tree, "my/app")
    values = defconfig(tree, made)
    assert (values["BR2_PACKAGE_NANO"], values["BR2_TARGET_X"]) == ("y", '"a b"')
    assert explain(made, "BR2_PACKAGE_NANO") == [("buildroot", "n", "base"), ("buildroot", "y", "my/app")]


def test_fragments_for_one_cpu_count_for_it_alone(tree: LayerTree) -> None:
    write(tree.root / "layers/base/kernel/all.config", "CONFIG_A=y\n")
    write(tree.root / "layers/base/kernel/arm64/cpu.config", "CONFIG_A=m\n")
    write(tree.root / "layers/base/kernel/amd64/cpu.config", "CONFIG_B=y\n")
    wanted = plan(recipe(tree)).kernel
    assert {name: one.value for name, one in wanted.items()} == {"CONFIG_A": "m"}


def test_the_last_word_of_a_choice_stands_last(tree: LayerTree) -> None:
    layers = tree.root / "layers/base"
    write(layers / "buildroot/a.config", "BR2_ONE=y\nBR2_TWO=y\n")
    write(layers / "buildroot/b.config", "BR2_ONE=n\nBR2_THREE=y\nBR2_ONE=y\n")
    found = merge(collect(recipe(tree).layers, Arch.ARM64, Kind.BUILDROOT))
    assert list(found) == ["BR2_TWO", "BR2_THREE", "BR2_ONE"]


def test_a_fragment_can_name_its_layers_folder(tree: LayerTree) -> None:
    write(tree.root / "layers/base/buildroot/a.config", 'BR2_FILE="SKIFF_CONFIG_ROOT/kernel-base"\n')
    values = defconfig(tree, recipe(tree))
    assert values["BR2_FILE"] == f'"{tree.root}/layers/base/kernel-base"'


def test_users_and_groups_go_into_buildroots_table(tree: LayerTree) -> None:
    tree.add(
        "my/app",
        '[tree.groups]\ndocker = 990\n[[tree.users]]\nname = "crew"\nuid = 991\nhome = "/home/crew"\n'
        'shell = "/bin/sh"\ngroups = ["docker"]\n',
    )
    made = recipe(tree, "my/app")
    defconfig(tree, made)
    assert (tree.root / "external/users").read_text().splitlines() == [
        "- -1 docker 990 - - - - -",
        "crew 991 crew 991 * /home/crew /bin/sh docker crew",
    ]


def test_sources_of_a_layer_overrule_buildroots(tree: LayerTree) -> None:
    ref = tree.add(
        "my/app",
        '[buildroot.source.linux]\nfolder = "linux"\n'
        '[buildroot.source.util-linux]\nversion = "2.41.5"\nfile = "ul.tar.xz"\nsha256 = "' + "a" * 64 + '"\n'
        '[buildroot.variables]\nRSYNC_AUTORECONF = "NO"\n',
    )
    made = recipe(tree, "my/app")
    with pytest.raises(UserError, match=r"layer my/app: buildroot\.source\.linux\.folder: .* no such folder"):
        defconfig(tree, made)
    (ref.path / "linux").mkdir()
    defconfig(tree, made)
    assert (tree.root / "external/override.mk").read_text().splitlines()[1:] == [
        f"LINUX_OVERRIDE_SRCDIR = {ref.path}/linux",
        "override UTIL_LINUX_VERSION = 2.41.5",
        "override UTIL_LINUX_SOURCE = ul.tar.xz",
        "override RSYNC_AUTORECONF = NO",
    ]
    hashes = tree.root / "external/patches/util-linux/util-linux.hash"
    assert hashes.read_text() == f"sha256  {'a' * 64}  ul.tar.xz\n"
    # A layer that is left out leaves nothing behind.
    defconfig(tree, recipe(tree))
    assert not hashes.exists()


def test_an_external_toolchain_takes_the_place_of_buildroots_own(tree: LayerTree) -> None:
    own = "BR2_TOOLCHAIN_BUILDROOT_MUSL=y\nBR2_KERNEL_HEADERS_AS_KERNEL=y\n"
    write(tree.root / "layers/base/buildroot/a.config", own)
    write(tree.add("my/app").path / "buildroot/a.config", "BR2_TOOLCHAIN_EXTERNAL=y\n")
    values = defconfig(tree, recipe(tree, "my/app"))
    assert values["BR2_TOOLCHAIN_BUILDROOT_MUSL"] == values["BR2_KERNEL_HEADERS_AS_KERNEL"] == "n"
    assert "BR2_TOOLCHAIN_BUILDROOT_CXX" not in values
    assert defconfig(tree, recipe(tree))["BR2_TOOLCHAIN_BUILDROOT_MUSL"] == "y"


def test_offline_names_the_folder_of_sources_as_the_only_site(tree: LayerTree) -> None:
    made = recipe(tree)
    assert "BR2_PRIMARY_SITE_ONLY" not in defconfig(tree, made)
    values = defconfig(tree, made, offline=True)
    assert values["BR2_PRIMARY_SITE_ONLY"] == "y"
    assert values["BR2_PRIMARY_SITE"] == f'"file://{tree.root}/dl"'


def test_device_trees_of_layers_are_made(tree: LayerTree) -> None:
    tree.add("my/board", '[disk]\ndtbs = ["amlogic/a.dtb", "amlogic/b.dtb"]\n')
    values = defconfig(tree, recipe(tree, "my/board"))
    assert values["BR2_LINUX_KERNEL_INTREE_DTS_NAME"] == '"amlogic/a amlogic/b"'


def test_a_folder_with_a_space_is_refused(tree: LayerTree) -> None:
    ref = tree.add("my/spaced name")
    (ref.path / "patches").mkdir()
    made = resolve([str(ref.path)], Arch.ARM64, tree.search, builder="buildroot")
    with pytest.raises(UserError, match="no path with a space"):
        defconfig(tree, made)


def test_what_stays_the_same_is_not_written_again(tree: LayerTree) -> None:
    made = recipe(tree)
    file = write_external(made, plan(made), places(tree.root))
    before = file.stat().st_mtime_ns
    assert write_external(made, plan(made), places(tree.root)).stat().st_mtime_ns == before
