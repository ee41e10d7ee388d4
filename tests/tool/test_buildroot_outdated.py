"""What Buildroot would keep of an earlier recipe is made anew, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from skiff.builders.buildroot import build, checks, outdated
from skiff.builders.buildroot.build import How
from skiff.layers import resolve
from skiff.model.arch import Arch
from skiff.model.recipe import Recipe
from tests.unit.layer_tree import LayerTree

# It takes any configuration, compiles every package of `info.json` that has no stamp, and tells which. Then
# come overlays and scripts.
MAKEFILE = """\
export BR2_VERSION := 2026.02.9
BR2_VERSION_EPOCH = 1771000000
all:
	@mkdir -p $(O)/target; for name in $$(cat $(CURDIR)/names); do dir=$(O)/build/$$name; mkdir -p $$dir; \\
	for step in rsynced configured built installed target_installed; do \\
	test -e $$dir/.stamp_$$step || { echo "$$name $$step" >>$(O)/steps; touch $$dir/.stamp_$$step; }; \\
	test $$step != target_installed || touch $(O)/target/$$name; \\
	done; done
	@for dir in $(call setting,BR2_ROOTFS_OVERLAY); do cp -a $$dir/. $(O)/target; done
	@for script in $(call setting,BR2_ROOTFS_POST_BUILD_SCRIPT); do $$script; done
setting = $$(sed -n 's/^$(1)="\\(.*\\)"/\\1/p' $(O)/.config)
defconfig:
	@mkdir -p $(O); cp $(BR2_DEFCONFIG) $(O)/.config
show-info:
	@cat $(CURDIR)/info.json
clean:
	@rm -rf $(O)/build $(O)/target
"""
# In the order in which they are made.
ALL = ("host-tiny", "tiny", "tiny-tools", "linux")
STEPS = ("rsynced", "configured", "built", "installed", "target_installed")


class Bench:
    """A Buildroot that compiles nothing, a layer, and its workspace."""

    def __init__(self, root: Path) -> None:
        self.tree = LayerTree(root / "project")
        self.layer = self.tree.root / "layers/base"
        self.source = root / "buildroot-source"
        self.folder = root / "workspace/buildroot"
        self.output = self.folder / "output"
        self.source.mkdir()
        (self.source / "Makefile").write_text(MAKEFILE)
        (self.source / "Config.in").write_text("")
        self.own = root / "tiny-source"
        self.own.mkdir()
        (self.own / "main.c").write_text("one")
        self.write("buildroot/a.config", "BR2_aarch64=y\n")
        self.packages(*ALL)

    def write(self, name: str, text: str) -> None:
        path = self.layer / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def packages(self, *names: str) -> None:
        """Those that the configuration has."""
        facts = {name: {"version": "", "build_dir": f"build/{name}/", "downloads": []} for name in names}
        (self.source / "info.json").write_text(json.dumps({**facts, "toolchain": {"type": "target"}}))
        (self.source / "names").write_text(" ".join(names))
        (self.folder / "packages.key").unlink(missing_ok=True)

    @property
    def recipe(self) -> Recipe:
        recipe = resolve([], Arch.ARM64, self.tree.search, builder="buildroot")
        if not (self.layer / "hooks/pre.sh").exists():
            return recipe
        # Only config packages of SkiffOS have those.
        (base,) = recipe.layers
        return msgspec.structs.replace(recipe, layers=(msgspec.structs.replace(base, skiffos=True),))

    def build(self) -> tuple[list[str], dict[str, list[str]]]:
        """Build; what the user is told, and the steps that were taken for each package."""
        how = How(self.source, downloads=self.folder / "dl")
        configured = build.configure(self.recipe, self.folder, self.folder / "cache", how)
        held = outdated.contents(self.recipe)
        told = outdated.renew(self.recipe, configured, build.packages(configured), held)
        steps = self.output / "steps"
        steps.unlink(missing_ok=True)
        configured.make.run([], lambda _: None, lambda _: None)
        taken: dict[str, list[str]] = {}
        for line in steps.read_text().splitlines() if steps.exists() else ():
            name, step = line.split()
            taken.setdefault(name, []).append(step)
        return told, taken

    @property
    def target(self) -> set[str]:
        return {path.name for path in (self.output / "target").iterdir()}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    # What this test needs of a machine is make alone.
    monkeypatch.setattr(checks, "_PROGRAMS", ("make",))
    made = Bench(tmp_path)
    assert made.build() == ([], {name: [*STEPS] for name in ALL})
    return made


def anew(*names: str) -> dict[str, list[str]]:
    """Those packages from the first step on, the others only installed again."""
    return {name: [*STEPS] if name in names else ["target_installed"] for name in ALL}


def test_what_stays_the_same_is_kept(bench: Bench) -> None:
    assert bench.build() == ([], {})
    # Symbols of nobody's, and some that are off.
    on = 'BR2_TARGET_GENERIC_ISSUE="x"\nBR2_ENABLE_LOCALE_PURGE=y\n'
    off = "# BR2_PACKAGE_TINY_X is not set\n# BR2_TOOLCHAIN_X is not set\n"
    bench.write("buildroot/b.config", on + off)
    assert bench.build() == ([], {})


def test_a_package_that_no_layer_asks_for_any_more_leaves_the_image(bench: Bench) -> None:
    bench.packages("host-tiny", "tiny", "linux")
    told, taken = bench.build()
    assert told == ["no longer in the image: tiny-tools"]
    assert taken == {name: ["target_installed"] for name in ("host-tiny", "tiny", "linux")}
    assert "tiny-tools" not in bench.target
    # It comes back without being compiled.
    bench.packages(*ALL)
    assert bench.build() == ([], {"tiny-tools": ["target_installed"]})
    assert "tiny-tools" in bench.target


def test_a_package_that_comes_back_is_compared_with_what_it_was(bench: Bench) -> None:
    bench.packages("host-tiny", "tiny", "linux")
    bench.build()
    # Further builds do not forget it.
    bench.build()
    bench.write("patches/tiny-tools/0001-a.patch", "+a\n")
    bench.packages(*ALL)
    told, taken = bench.build()
    assert told == ["compiled anew, as what it is made of changed: tiny-tools"]
    assert taken == anew("tiny-tools")


def test_a_folder_that_cannot_be_removed_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what is outdated would count as made anew."""
    bench.write("patches/tiny/0001-a.patch", "+a\n")

    def refused(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch, pytest.raises(PermissionError):
        patch.setattr("os.rmdir", lambda path, **_: refused(path))
        bench.build()
    assert bench.build()[1] == anew("host-tiny", "tiny")


def test_a_program_of_the_build_machine_is_in_no_image(bench: Bench) -> None:
    bench.packages("tiny", "tiny-tools", "linux")
    assert bench.build() == ([], {})


@pytest.mark.parametrize(
    ("name", "text", "changed"),
    [
        ("buildroot/b.config", "BR2_PACKAGE_TINY_COLOUR=y\n", ("tiny",)),
        # Whose name goes on is another package's.
        ("buildroot/b.config", "BR2_PACKAGE_TINY_TOOLS_COLOUR=y\n", ("tiny-tools",)),
        ("patches/tiny/0001-a.patch", "+a\n", ("host-tiny", "tiny")),
        ("patches/tiny/1.0/0001-a.patch", "+a\n", ("host-tiny", "tiny")),
        ("kernel_patches/0001-a.patch", "+a\n", ("linux",)),
        ("buildroot_ext/package/tiny-tools/tiny-tools.mk", "# a\n", ("tiny-tools",)),
        (
            "layer.toml",
            'description = "b"\n[buildroot.variables]\nTINY_CONF_OPTS = "-a"\n',
            ("host-tiny", "tiny"),
        ),
        (
            "layer.toml",
            'description = "b"\n[buildroot.source.tiny-tools]\nversion = "2"\n',
            ("tiny-tools",),
        ),
    ],
    ids=[
        "option",
        "longer name",
        "patch",
        "patch of a version",
        "kernel",
        "own package",
        "variable",
        "source",
    ],
)
def test_what_a_package_is_made_of(bench: Bench, name: str, text: str, changed: tuple[str, ...]) -> None:
    bench.write(name, text)
    told, taken = bench.build()
    assert told == [f"compiled anew, as what it is made of changed: {', '.join(changed)}"]
    assert taken == anew(*changed)
    assert bench.build() == ([], {})


def test_a_source_folder_is_copied_again_and_compiled_on(bench: Bench) -> None:
    bench.write("layer.toml", f'description = "b"\n[buildroot.source.tiny-tools]\nfolder = "{bench.own}"\n')
    assert bench.build()[1] == anew("tiny-tools")
    before = outdated.contents(bench.recipe)
    (bench.own / ".git").mkdir()
    (bench.own / ".git/index").write_text("an editor's")
    assert outdated.contents(bench.recipe) == before
    (bench.own / "main.c").write_text("other")
    assert outdated.contents(bench.recipe) != before
    told, taken = bench.build()
    assert told == ["compiled anew, as what it is made of changed: tiny-tools"]
    assert taken["tiny-tools"] == ["rsynced", "built", "installed", "target_installed"]


def test_a_kernel_is_compiled_on_with_other_options(bench: Bench) -> None:
    bench.write("buildroot/b.config", 'BR2_LINUX_KERNEL_INTREE_DTS_NAME="a"\n')
    assert bench.build()[1]["linux"] == ["configured", "built", "installed", "target_installed"]


def test_another_compiler_makes_everything_anew(bench: Bench) -> None:
    bench.write("buildroot/b.config", "BR2_TOOLCHAIN_BUILDROOT_CXX=y\n")
    told, taken = bench.build()
    assert told == ["another compiler or CPU, or another Buildroot: everything is compiled anew"]
    assert taken == {name: [*STEPS] for name in ALL}


def test_what_is_taken_out_of_an_overlay_leaves_the_image(bench: Bench) -> None:
    bench.write("root_overlay/vpn.key", "secret")
    bench.write("root_overlay/other", "1")
    bench.write("root_overlay/tiny", "in place of the package's")
    assert bench.build() == ([], {})
    bench.write("root_overlay/other", "2")
    bench.write("root_overlay/more", "")
    assert bench.build() == ([], {})
    assert (bench.output / "target/other").read_text() == "2"
    (bench.layer / "root_overlay/vpn.key").unlink()
    (bench.layer / "root_overlay/tiny").unlink()
    assert bench.build() == (["no longer in the image: /tiny, /vpn.key"], anew())
    assert bench.target == {*ALL, "other", "more"}
    assert (bench.output / "target/tiny").read_text() == ""
    assert bench.build() == ([], {})


def test_what_a_hook_wrote_leaves_the_image_with_it(bench: Bench) -> None:
    def hook(name: str) -> None:
        bench.write("hooks/pre.sh", f'#!/bin/sh\necho >"$BUILDROOT_DIR/target/{name}"\n')
        (bench.layer / "hooks/pre.sh").chmod(0o755)

    hook("one")
    assert bench.build() == ([], {})
    assert bench.target == {*ALL, "one"}
    hook("two")
    told = ["packed anew without what the hook wrote before: base/pre.sh"]
    assert bench.build() == (told, anew())
    assert bench.target == {*ALL, "two"}
    (bench.layer / "hooks/pre.sh").unlink()
    assert bench.build() == (told, anew())
    assert bench.target == {*ALL}


def test_what_was_broken_off_is_done_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.packages("host-tiny", "tiny", "linux")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("shutil.rmtree", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        bench.build()
    assert bench.build()[0] == ["no longer in the image: tiny-tools"]
    assert "tiny-tools" not in bench.target


def test_an_output_of_an_older_skiff_is_taken_as_it_is(bench: Bench) -> None:
    record = bench.folder / "made-of.json"
    # Before overlays were written down.
    facts = json.loads(record.read_text())
    record.write_text(json.dumps({name: facts[name] for name in ("everything", "packages", "left")}))
    bench.write("root_overlay/other", "")
    assert bench.build() == ([], {})
    record.unlink()
    assert bench.build() == ([], {})
