"""Layers and packages against real trees: Buildroot's Kconfig (BUILDROOT), SkiffOS's scripts (SKIFFOS)."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from skiff.builders.buildroot.build import How, configure
from skiff.builders.buildroot.external import plan
from skiff.builders.buildroot.fragments import read
from skiff.builders.buildroot.release import pin
from skiff.builders.buildroot.toolchain import Toolchain
from skiff.host.dirs import builtin_layers
from skiff.host.run import run
from skiff.layers import Search, available, checkout_recipe, load, resolve
from skiff.model.arch import Arch
from skiff.model.recipe import LayerRef
from tests.layers import complete
from tests.vm.terminal import Terminal

SEARCH = Search(builtin=builtin_layers())
LAYERS = {name: load(LayerRef(name, path)).file for name, path in available(SEARCH).items()}
CHECKED = [
    (name, arch) for name, file in LAYERS.items() for arch in file.arch or [arch.value for arch in Arch]
]
# Fragments, hooks, flags, external trees, patches: each in one of them.
SKIFFOS_NAMES = [
    "odroid/xu,apps/docker",
    "jetson/agx,core/gentoo",
    "valve/deck,util/gofast",
    "allwinner/nezha,amd/zen4",
]
# Symbols whose value is a path in the workspace, or the tool's own.
PLACES = (
    "BR2_CCACHE_DIR",
    "BR2_DEFCONFIG",
    "BR2_EXTERNAL",
    "BR2_LINUX_KERNEL_CONFIG_FRAGMENT_FILES",
    "BR2_PACKAGE_BUSYBOX_CONFIG_FRAGMENT_FILES",
    "BR2_ROOTFS_POST_BUILD_SCRIPT",
    "BR2_ROOTFS_POST_IMAGE_SCRIPT",
    "BR2_ROOTFS_USERS_TABLES",
    "BR2_TARGET_UBOOT_CONFIG_FRAGMENT_FILES",
)


def folder_in(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} names no tree")
    return Path(value).absolute()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("buildroot")


@pytest.mark.parametrize(("name", "arch"), CHECKED)
def test_kconfig_takes_every_setting_of_a_layer(name: str, arch: str, work: Path) -> None:
    buildroot = folder_in("BUILDROOT")
    recipe = resolve(complete(name), Arch(arch), SEARCH, builder="buildroot")
    configured = configure(recipe, work / arch, work / "cache", How(buildroot, strict=True))
    assert configured.make.release.version.startswith(pin().version[:7])


def test_kconfig_takes_debians_toolchain(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    buildroot = folder_in("BUILDROOT")
    made = Toolchain(work, "aarch64-linux-gnu", gcc=12, headers=(6, 1), cxx=True)
    monkeypatch.setattr("skiff.builders.buildroot.build.debian_toolchain", lambda arch, cache: made)
    layer = work / "my/compiler"
    layer.mkdir(parents=True)
    (layer / "layer.toml").write_text('description = "c"\n[buildroot]\ntoolchain = "debian"\n')
    recipe = resolve(["virt/qemu", "engine/podman", str(layer)], Arch.ARM64, SEARCH, builder="buildroot")
    configure(recipe, work / "toolchain", work / "cache", How(buildroot, strict=True))


# Keys of Buildroot's menu, and what it shows when it has understood them.
MENU = (
    ("/", "Search Configuration"),
    ("PACKAGE_LSOF\r", "Search Results"),
    # To the place of the first one found.
    ("1", "feature is selected"),
    ("y\x1b\x1b", "Search Results"),
    ("\x1b\x1b", "feature is selected"),
    ("\x1b\x1b", "wish to save"),
    ("\r", "End of the configuration"),
)


def test_what_buildroots_menu_changes_is_saved_and_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUILDROOT", str(folder_in("BUILDROOT")))
    monkeypatch.setenv("SKIFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    skiff = [sys.executable, "-m", "skiff"]
    run([*skiff, "configure", "virt/qemu", "--arch", "arm64", "--builder", "buildroot"])
    terminal = Terminal([*skiff, "br", "--", "menuconfig"], rows=40, columns=120)
    terminal.wait_for("feature is selected")
    for keys, shown in MENU:
        terminal.type(keys)
        terminal.wait_for(shown)
    terminal.wait_for_end()
    run([*skiff, "br", "save"])
    saved = tmp_path / "overrides/workspaces/default/buildroot/saved.config"
    assert "BR2_PACKAGE_LSOF=y" in saved.read_text().splitlines()
    told = run([*skiff, "br", "--", "printvars", "VARS=BR2_PACKAGE_LSOF"]).stdout
    assert told.strip() == b"BR2_PACKAGE_LSOF=y"


@pytest.mark.parametrize("names", SKIFFOS_NAMES)
def test_the_configuration_is_that_of_skiffos_itself(names: str, work: Path) -> None:
    buildroot, skiffos = folder_in("BUILDROOT"), folder_in("SKIFFOS")
    theirs = work / "SkiffOS"
    if not theirs.exists():
        # Its scripts write into their own folder.
        theirs.mkdir()
        for path in skiffos.iterdir():
            if path.name in ("configs", "configs-base", "overrides", "resources", "scripts", "build"):
                shutil.copytree(path, theirs / path.name, symlinks=True)
        shutil.copy(skiffos / "Makefile", theirs)
        (theirs / "workspaces").mkdir()
        (theirs / "buildroot").symlink_to(buildroot)
    environment = {"SKIFF_CONFIG": names, "SKIFF_WORKSPACE": "", "TERM": "xterm"}
    run(["make", "configure"], cwd=theirs, env=environment)
    final = theirs / "workspaces/.config_default"
    recipe = checkout_recipe(theirs, names.split(","), [], "default")
    configured = configure(recipe, work / "ours", work / "cache", How(buildroot))
    places = configured.make.places

    def same(ours: Path, other: Path) -> None:
        left, right = read(ours.read_text()), read(other.read_text())
        keys = {key for key in {*left, *right} if not key.startswith(PLACES)}
        assert {key: left.get(key, "n") for key in keys} == {key: right.get(key, "n") for key in keys}

    same(places.config, final / "final/buildroot")
    for kind in ("kernel", "busybox", "uboot"):
        same(places.external / f"{kind}.config", final / kind / "config")
    assert (places.external / "users").read_text() == (final / "users").read_text()


# Applets whose symbol has another name, or that come with another one's.
APPLETS = {
    "[": "TEST1",
    "[[": "TEST2",
    "arch": "BB_ARCH",
    "nbd_client": "NBDCLIENT",
    "sh": "SH_IS_ASH",
    "sysctl": "BB_SYSCTL",
}


# Programs that busybox is.
OURS = {"busybox", "runsv", "runsvdir", "sv"}


@pytest.fixture
def busybox() -> Callable[[str], bool]:
    """Whether Buildroot's busybox will do a name itself, with the settings of `base`."""
    defaults = read((folder_in("BUILDROOT") / "package/busybox/busybox.config").read_text())
    recipe = resolve(["base"], Arch.ARM64, SEARCH, builder="buildroot")
    config = {**defaults, **{symbol: setting.value for symbol, setting in plan(recipe).busybox.items()}}

    def does(path: str) -> bool:
        name = path.rpartition("/")[2].replace("-", "_")
        return config.get(f"CONFIG_{APPLETS.get(name, name.upper())}") == "y"

    return does


def test_busybox_has_every_applet_that_base_lists(busybox: Callable[[str], bool]) -> None:
    recipe = resolve(["base"], Arch.ARM64, SEARCH, builder="buildroot")
    assert [path for path in recipe.applets if not busybox(path)] == []


@pytest.mark.parametrize("name", LAYERS)
def test_no_applet_comes_before_a_program_that_a_layer_promises(
    name: str, busybox: Callable[[str], bool]
) -> None:
    arch = Arch((LAYERS[name].arch or ["arm64"])[0])
    recipe = resolve(complete(name), arch, SEARCH, builder="buildroot")
    applets = {path.rpartition("/")[2] for path in recipe.applets}
    programs = {path.rpartition("/")[2] for path in recipe.programs} - applets - OURS
    assert [program for program in sorted(programs) if busybox(program)] == []
