"""The `buildroot` builder with a Buildroot of a few lines: configured, compiled, resumed, refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from skiff.builders.buildroot import build, checks
from skiff.builders.buildroot.build import Configured, How
from skiff.builders.buildroot.commands import call, save
from skiff.builders.buildroot.make import is_built
from skiff.builders.buildroot.sources import SUMS, fetch
from skiff.host.errors import UserError
from skiff.host.files import file_digest
from skiff.layers import resolve
from skiff.model.arch import Arch
from skiff.model.recipe import Recipe
from tests.unit.layer_tree import LayerTree

# Kconfig that knows two symbols, a menu that sets one, and two packages.
MAKEFILE = """\
export BR2_VERSION := 2026.02.9
BR2_VERSION_EPOCH = 1771000000
all: linux-configure
	@test -e $(O)/build/tiny-1.0/.stamp_installed || echo ">>> tiny 1.0 Building"
	@echo compiling tiny; echo "$(LDFLAGS)$(BR2_EXTERNAL)" >$(O)/environment
	@test ! -e $(O)/slow || { echo ">>> tiny 1.0 Installing"; sleep 600; }
	@test ! -e $(O)/fail || { cat $(O)/fail; exit 1; }
	@mkdir -p $(O)/build/tiny-1.0 && touch $(O)/build/tiny-1.0/.stamp_installed
	@echo ">>>   Finalizing target directory"
defconfig:
	@mkdir -p $(O); echo defconfig >>$(O)/calls
	@grep -E '^(# )?(BR2_TINY|BR2_EXTRA)\\b' $(BR2_DEFCONFIG) >$(O)/.config || :
show-info:
	@echo info >>$(O)/calls; cat $(CURDIR)/info.json
linux-configure:
	@echo ">>> linux 6.12 Configuring"; echo noise of the kernel
	@mkdir -p $(O)/build/linux-6.12
	@cp $(CURDIR)/Kconfig $(O)/build/linux-6.12; grep CONFIG_NET= $(BR2_EXTERNAL)/kernel.config \\
	>$(O)/build/linux-6.12/.config || :
	@touch $(O)/build/linux-6.12/.stamp_installed
menuconfig:
	@echo BR2_EXTRA=y >>$(O)/.config
tiny-rebuild:
	@touch $(O)/build/tiny-1.0/.stamp_installed
source:
	@mkdir -p $(DL)/tiny; echo source >$(DL)/tiny/tiny-1.0.tar.gz
"""
INFO = {
    "tiny": {
        "version": "1.0",
        "licenses": "MIT, ISC",
        "dl_dir": "tiny",
        "build_dir": "build/tiny-1.0/",
        "downloads": [{"source": "tiny-1.0.tar.gz", "uris": []}],
    },
    "linux": {
        "version": "6.12",
        "build_dir": "build/linux-6.12/",
        "downloads": [],
    },
    "rootfs-tar": {"type": "rootfs"},
}


class Bench:
    """A small Buildroot, a workspace, and a layer."""

    def __init__(self, tree: LayerTree, root: Path) -> None:
        self.tree = tree
        self.source = root / "buildroot-source"
        self.folder = root / "workspace/buildroot"
        self.output = self.folder / "output"
        self.downloads = root / "dl"
        self.cache = root / "cache"
        self.source.mkdir()
        (self.source / "Makefile").write_text(MAKEFILE)
        (self.source / "info.json").write_text(json.dumps(INFO))
        (self.source / "Config.in").write_text('config BR2_TINY\n\tbool "t"\nconfig BR2_EXTRA\n\tbool "e"\n')
        (self.source / "Kconfig").write_text(
            'config NET\n\tbool "n"\nconfig INET\n\tbool "i"\n\tdepends on NETT\n'
        )
        self.write("buildroot/a.config", "BR2_TINY=y\n")
        self.write("kernel/a.config", "CONFIG_NET=y\n")
        self.how = How(self.source, downloads=self.downloads)

    def write(self, name: str, text: str) -> None:
        path = self.tree.root / "layers/base" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    @property
    def recipe(self) -> Recipe:
        return resolve([], Arch.ARM64, self.tree.search, builder="buildroot")

    def configure(self, **how: object) -> Configured:
        return build.configure(self.recipe, self.folder, self.cache, msgspec.structs.replace(self.how, **how))

    def compile(self, **how: object) -> tuple[list[str], int, list[str]]:
        """Warnings, packages done, and the steps that were told."""
        configured = self.configure(**how)
        steps: list[str] = []
        counted: list[int] = []
        chosen = msgspec.structs.replace(self.how, **how)
        packages = build.packages(configured)
        warnings = build.compile_all(configured, packages, chosen, steps.append, counted.append)
        return warnings, sum(counted), steps

    def calls(self, word: str) -> int:
        return (self.output / "calls").read_text().split().count(word)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("LDFLAGS", "-mine")
    monkeypatch.setenv("DL", str(tmp_path / "dl"))
    # What this test needs of a machine is make alone.
    monkeypatch.setattr(checks, "_PROGRAMS", ("make",))
    return Bench(LayerTree(tmp_path / "project"), tmp_path)


def test_it_is_configured_once_as_long_as_nothing_changes(bench: Bench) -> None:
    bench.configure()
    bench.configure()
    assert bench.calls("defconfig") == 1
    bench.write("buildroot/b.config", "BR2_EXTRA=y\n")
    bench.configure()
    assert bench.calls("defconfig") == 2


def test_a_package_of_a_layer_s_own_that_changed_is_looked_at_anew(bench: Bench) -> None:
    bench.write("buildroot_ext/package/tiny/Config.in", "config BR2_PACKAGE_TINY\n")
    bench.write("buildroot_ext/package/tiny/tiny.mk", "TINY_VERSION = 1.0\n")
    bench.compile()
    bench.write("buildroot_ext/package/tiny/tiny.mk", "TINY_VERSION = 2.0\n")
    bench.compile()
    assert (bench.calls("defconfig"), bench.calls("info")) == (2, 2)
    bench.compile()
    assert (bench.calls("defconfig"), bench.calls("info")) == (2, 2)


@pytest.mark.parametrize(
    ("name", "times"),
    [("package/tiny/tiny.mk", 2), ("package/tiny/Config.in.host", 2), ("output/x.mk", 1), ("README", 1)],
)
def test_a_tree_of_the_user_s_that_changed_is_looked_at_anew(bench: Bench, name: str, times: int) -> None:
    bench.compile()
    (bench.source / name).parent.mkdir(parents=True, exist_ok=True)
    (bench.source / name).write_text("# other\n")
    bench.compile()
    assert (bench.calls("defconfig"), bench.calls("info")) == (times, times)


def test_a_setting_without_effect_is_told_with_its_layer(bench: Bench) -> None:
    bench.write("buildroot/b.config", "BR2_TINI=y\n")
    (line,) = bench.configure().warnings
    assert line == (
        "Buildroot: BR2_TINI=y (layer base): is n: there is no such symbol; did you mean BR2_TINY?"
    )
    with pytest.raises(UserError, match="BR2_TINI=y"):
        bench.configure(strict=True)


def test_a_line_that_sets_nothing_is_told_with_its_file(bench: Bench) -> None:
    lines = ("# a remark", "", "BR2_EXTRA=n", "BR2_EXTRA", "BR2_EXTRA = y", "#BR2_TINY is not set")
    bench.write("buildroot/b.config", "\n".join(lines))
    bench.write("kernel/b.config", "NET=y\n")
    folder = bench.tree.root / "layers/base"
    told = [f"{folder}/buildroot/b.config:{number}: " for number in (4, 5, 6)]
    told.append(f"{folder}/kernel/b.config:1: ")
    warnings = bench.configure().warnings
    assert [line.partition("no setting")[0] for line in warnings] == told
    with pytest.raises(UserError, match=r"b\.config:5: no setting that Kconfig reads: BR2_EXTRA = y"):
        bench.configure(strict=True)


def test_layers_that_fight_are_told(bench: Bench) -> None:
    bench.write("buildroot/b.config", "BR2_EXTRA=y\n")
    for name, value in (("a/one", "y"), ("a/two", "n")):
        ref = bench.tree.add(name)
        (ref.path / "buildroot").mkdir()
        (ref.path / "buildroot/x.config").write_text(f"BR2_TINY={value}\nBR2_EXTRA=n\n")
    recipe = resolve(["a/one", "a/two"], Arch.ARM64, bench.tree.search, builder="buildroot")
    configured = build.configure(recipe, bench.folder, bench.cache, bench.how)
    # `base` is there to be overruled.
    assert build.contested(configured) == ["BR2_TINY (base: y, a/one: y, a/two: n)"]


def test_progress_counts_packages_and_the_log_is_whole(bench: Bench) -> None:
    warnings, done, steps = bench.compile()
    assert (warnings, done) == ([], 2)
    # What packs the root file system is none.
    assert [one.name for one in build.packages(bench.configure())] == ["tiny", "linux"]
    assert "tiny 1.0 Building" in steps
    assert "compiling tiny" in (bench.folder / "build.log").read_text()
    # The user's own flags stay out; the external tree gets in.
    assert (bench.output / "environment").read_text() == f"{bench.folder}/external\n"


def test_what_was_built_before_is_counted_at_once(bench: Bench) -> None:
    bench.compile()
    _, done, steps = bench.compile()
    assert done == 2 and "tiny 1.0 Building" not in steps
    assert bench.calls("info") == 1


def test_a_failing_package_shows_its_last_lines(bench: Bench) -> None:
    bench.configure()
    (bench.output / "fail").write_text("main.c:7: error: it is wrong\n")
    with pytest.raises(UserError, match=r"package tiny failed: 1\.0 Building") as caught:
        bench.compile()
    assert "main.c:7: error: it is wrong" in caught.value.message
    assert "noise" not in caught.value.message
    assert "`skiff br -- tiny-dirclean`" in caught.value.hint
    (bench.output / "fail").unlink()
    assert bench.compile()[1] == 2


def test_what_is_interrupted_goes_on_where_it_was(bench: Bench) -> None:
    configured = bench.configure()
    (bench.output / "slow").touch()

    def interrupted(step: str) -> None:
        if step == "tiny 1.0 Installing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build.compile_all(configured, build.packages(configured), bench.how, interrupted, lambda _: None)
    assert [is_built(one, bench.output) for one in build.packages(configured)] == [False, True]
    (bench.output / "slow").unlink()
    assert bench.compile()[1] == 2


def test_a_source_that_cannot_be_fetched_is_told_with_what_to_do(bench: Bench) -> None:
    bench.configure()
    (bench.output / "fail").write_text(">>> host-tiny 1.0 Downloading\nwget: unable to resolve host\n")
    with pytest.raises(UserError, match="source of package host-tiny cannot be fetched") as caught:
        bench.compile()
    assert "unable to resolve host" in caught.value.message
    assert "[buildroot.source.tiny]" in caught.value.hint


def test_a_full_disk_is_told_as_such(bench: Bench) -> None:
    bench.configure()
    (bench.output / "fail").write_text("cc: write: No space left on device\n")
    with pytest.raises(UserError, match="no space left on disk while building tiny"):
        bench.compile()


def test_the_kernels_own_kconfig_is_looked_at_too(bench: Bench) -> None:
    bench.write("kernel/b.config", "CONFIG_INET=y\n")
    warnings, _, _ = bench.compile()
    assert warnings == ["kernel: CONFIG_INET=y (layer base): is n: it depends on NETT"]
    with pytest.raises(UserError, match="CONFIG_INET=y"):
        bench.compile(strict=True)


def test_sources_are_collected_and_missing_ones_named_before_the_build(bench: Bench) -> None:
    with pytest.raises(UserError, match=r"tiny: tiny/tiny-1\.0\.tar\.gz is not there"):
        bench.compile(offline=True)
    configured = bench.configure()
    folder = fetch(configured.make, build.packages(configured), lambda _: None)
    archive = folder / "tiny/tiny-1.0.tar.gz"
    assert (folder / SUMS).read_text() == f"{file_digest(archive)}  tiny/tiny-1.0.tar.gz\n"
    assert bench.compile(offline=True)[1] == 2
    archive.write_text("another\n")
    with pytest.raises(UserError, match="is not the file that was fetched"):
        bench.compile(offline=True)


def test_what_a_menu_changes_can_be_saved_into_a_layer(bench: Bench) -> None:
    with pytest.raises(UserError, match="no menu has changed anything"):
        save(bench.folder / "changed", bench.tree.root / "layers/base")
    call(bench.configure(), ["menuconfig"], bench.folder / "changed")
    files = save(bench.folder / "changed", bench.tree.root / "layers/base")
    assert [file.read_text() for file in files] == ["# Saved by `skiff br save`.\nBR2_EXTRA=y\n"]
    # It is a fragment of the layer from now on.
    assert bench.configure().plan.buildroot["BR2_EXTRA"].layer == "base"


def test_a_menus_change_makes_another_image(bench: Bench) -> None:
    before = build.state(bench.configure())
    call(bench.configure(), ["menuconfig"], bench.folder / "changed")
    assert build.state(bench.configure()) != before


def test_a_package_built_alone_makes_another_image(bench: Bench) -> None:
    bench.compile()
    before = build.state(bench.configure())
    call(bench.configure(), ["tiny-rebuild"], bench.folder / "changed")
    assert build.state(bench.configure()) != before


def test_another_years_buildroot_is_refused(bench: Bench) -> None:
    text = MAKEFILE.replace("2026.02.9", "2024.11")
    (bench.source / "Makefile").write_text(text)
    with pytest.raises(UserError, match=r"this is Buildroot 2024\.11, and the layers are made for 2026"):
        bench.configure()
    with pytest.raises(UserError, match="no Buildroot in this folder"):
        bench.configure(buildroot=bench.tree.root)


def test_paths_that_break_buildroot_are_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no path with a space") as caught:
        bench.configure(downloads=bench.downloads / "my sources")
    assert "--downloads" in caught.value.hint
    spaced = shutil.copytree(bench.source, bench.source.with_name("my buildroot"))
    with pytest.raises(UserError, match="no path with a space") as caught:
        bench.configure(buildroot=spaced)
    assert "--buildroot" in caught.value.hint
    monkeypatch.setenv("PATH", "/opt/my tools:/usr/bin:/bin")
    with pytest.raises(UserError, match="'/opt/my tools'"):
        bench.configure()


def test_a_folder_of_somebody_elses_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "touch", refused)
    with pytest.raises(UserError, match="not yours to write to") as caught:
        bench.configure()
    assert f'chown -R "$(id -u)" {bench.folder}' in caught.value.hint


def test_a_disk_without_capitals_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: path.name == ".cASE" or exists(path))
    with pytest.raises(UserError, match="capitals and small letters"):
        bench.configure()


def test_missing_programs_are_named_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_PROGRAMS", ("make", "no-such-a", "no-such-b"))
    with pytest.raises(UserError, match="no-such-a, no-such-b") as caught:
        bench.configure()
    assert "apt-get install" in caught.value.hint


def test_the_remedy_names_packages_that_exist(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr("skiff.host.run.which", lambda _: None)
    with pytest.raises(UserError) as caught:
        bench.configure()
    assert caught.value.hint.endswith(
        " bash bc binutils bzip2 cpio debianutils diffutils file findutils g++ gcc gzip make mawk patch"
        " perl python3 rsync sed tar unzip wget"
    )
