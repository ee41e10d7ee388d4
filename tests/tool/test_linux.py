"""A kernel from source, with a source text of a few lines and a compiler that only tells its version."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import msgspec
import pytest

from skiff.builders.buildroot.fragments import Setting
from skiff.builders.linux import compile as stage
from skiff.builders.linux.compile import Compiled, compile_linux
from skiff.builders.linux.configure import Job, lost
from skiff.builders.linux.tarball import unpacked
from skiff.host.errors import UserError
from skiff.model.arch import Arch
from skiff.model.workspace import Workspace
from skiff.pipeline_linux import menu_changes
from tests.tool.fake_machine import FakeHost

# Makes of the settings that it is handed what a kernel's make would; counts how often it compiles.
MAKEFILE = """\
allnoconfig:
\tgrep ^CONFIG $(KCONFIG_ALLCONFIG) | grep -v UNKNOWN | sort >$(O)/.config
defconfig:
\techo CONFIG_DEFAULTS=y >$(O)/.config
olddefconfig:
\techo "# settled" >>$(O)/.config
kernelrelease:
\t@echo 6.12.0$(LOCALVERSION)
vendor/%.dtb:
	mkdir -p $(O)/arch/arm64/boot/dts/vendor
	echo tree >$(O)/arch/arm64/boot/dts/$@
Image.gz modules:
\ttest ! -e $(FAILS) || { echo "sched.c:7: error: it is wrong"; exit 1; }
\tmkdir -p $(O)/arch/arm64/boot/dts/vendor
\techo "$(ARCH) $(CROSS_COMPILE) $(KBUILD_BUILD_TIMESTAMP) $(KCFLAGS)" >$(O)/arch/arm64/boot/Image.gz
\techo map >$(O)/System.map
\techo tree >$(O)/arch/arm64/boot/dts/vendor/board.dtb
\techo $@ >>$(COUNT)
modules_install:
\tmkdir -p $(INSTALL_MOD_PATH)/lib/modules/6.12.0-skiff
\tln -s /somewhere $(INSTALL_MOD_PATH)/lib/modules/6.12.0-skiff/build
"""
KCONFIG = 'config NET\n\tbool "Net"\nconfig FAR\n\tbool "Far"\n\tdepends on NEAR\n'


def settings(**values: str) -> dict[str, Setting]:
    return {
        f"CONFIG_{name}": Setting(f"CONFIG_{name}", value, (("a/layer", value),))
        for name, value in values.items()
    }


JOB = Job(Arch.ARM64, "allnoconfig", settings(NET="y"))


class Bench:
    """A package's tarball, a cache, and what was compiled."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tarball, self.cache = root / "linux.tar.xz", root / "cache"
        text = root / "linux-source"
        text.mkdir()
        (text / "Makefile").write_text(MAKEFILE)
        (text / "Kconfig").write_text(KCONFIG)
        trees = text / "arch/arm64/boot/dts/vendor"
        trees.mkdir(parents=True)
        (trees / "board.dts").touch()
        with tarfile.open(self.tarball, "w:xz") as archive:
            archive.add(text, "linux-source")
        self.count, self.fails = root / "count", root / "fails"
        monkeypatch.setenv("COUNT", str(self.count))
        monkeypatch.setenv("FAILS", str(self.fails))
        # The user's own must not get in.
        monkeypatch.setenv("KCFLAGS", "-DMINE")

    def compile(self, job: Job = JOB, key: str = "source 1") -> Compiled:
        return compile_linux(job, self.tarball, key, self.cache, lambda _: None)

    @property
    def compiled(self) -> int:
        return self.count.read_text().count("Image.gz") if self.count.exists() else 0

    @property
    def kept(self) -> list[str]:
        return sorted(path.name for path in (self.cache / "linux").iterdir() if not path.is_symlink())


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    made = FakeHost(tmp_path, monkeypatch)
    for name in ("aarch64-linux-gnu-gcc", "bison", "flex", "bc"):
        made.program(name, "echo 12.2.0")
    return made


@pytest.fixture
def bench(host: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_a_kernel_is_what_layers_ask_for_over_its_base(bench: Bench) -> None:
    made = bench.compile()
    assert (made.root / "System.map").read_text() == "map\n"
    assert "CONFIG_NET=y" in made.config.read_text() and "DEFAULTS" not in made.config.read_text()
    words = made.kernel.read_text().split()
    assert words[:2] == ["arm64", "aarch64-linux-gnu-"] and "-DMINE" not in words
    over = bench.compile(msgspec.structs.replace(JOB, base="defconfig"))
    assert over.config.read_text().split("\n# ")[0].splitlines() == ["CONFIG_DEFAULTS=y"]
    assert "CONFIG_NET=y" in over.config.read_text() and "# settled" in over.config.read_text()


def test_modules_are_kept_without_a_way_back_to_the_compiler(bench: Bench) -> None:
    made = bench.compile()
    assert made.modules.name == "6.12.0-skiff" and list(made.modules.iterdir()) == []


def test_it_is_compiled_once_for_the_same_inputs(bench: Bench, host: FakeHost) -> None:
    first = bench.compile()
    assert bench.compile() == first and bench.compiled == 1
    assert bench.compile(msgspec.structs.replace(JOB, settings=settings(NET="m"))) != first
    assert bench.compiled == 2
    bench.compile(key="source 2")
    assert bench.compiled == 3
    # The first one is still there.
    assert bench.compile() == first and bench.compiled == 3
    host.program("aarch64-linux-gnu-gcc", "echo 14.2.0")
    assert bench.compile() != first and bench.compiled == 4


def test_it_is_compiled_once_for_the_same_configuration(bench: Bench) -> None:
    first = bench.compile(msgspec.structs.replace(JOB, settings=settings(NET="y", USB="m")))
    for same in (settings(USB="m", NET="y"), settings(NET="y", UNKNOWN="y", USB="m")):
        assert bench.compile(msgspec.structs.replace(JOB, settings=same)) == first
    assert bench.compiled == 1
    # What a user throws away to have room is made again.
    shutil.rmtree(first.root)
    bench.compile(msgspec.structs.replace(JOB, settings=settings(USB="m", NET="y")))
    assert bench.compiled == 2


def test_device_trees_come_along(bench: Bench) -> None:
    made = bench.compile(msgspec.structs.replace(JOB, dtbs=("vendor/board.dtb",)))
    assert {name: path.read_text() for name, path in made.dtbs.items()} == {"vendor/board.dtb": "tree\n"}
    # Another board with the same kernel: its tree is all that is compiled.
    assert bench.compile(msgspec.structs.replace(JOB, dtbs=("vendor/board.dtb", "vendor/other.dtb"))) == made
    assert sorted(made.dtbs) == ["vendor/board.dtb", "vendor/other.dtb"] and bench.compiled == 1


def test_a_device_tree_is_found_that_packages_have_without_its_vendor(bench: Bench) -> None:
    made = bench.compile(msgspec.structs.replace(JOB, dtbs=("board.dtb",)))
    assert {name: path.read_text() for name, path in made.dtbs.items()} == {"board.dtb": "tree\n"}


def test_a_failure_shows_the_compiler_s_words_and_keeps_its_log(bench: Bench) -> None:
    bench.fails.touch()
    with pytest.raises(UserError, match="it is wrong") as raised:
        bench.compile()
    (log,) = bench.kept
    assert raised.value.hint.endswith(f"{log}")
    assert "it is wrong" in (bench.cache / "linux" / log).read_text()
    bench.fails.unlink()
    bench.compile()
    assert bench.kept == [log.removesuffix(".log"), log]


def test_an_interruption_leaves_nothing_but_the_log(bench: Bench) -> None:
    def interrupt(line: str) -> None:
        if line.startswith("mkdir"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compile_linux(JOB, bench.tarball, "source 1", bench.cache, interrupt)
    assert [name for name in bench.kept if not name.endswith(".log")] == []


def test_settings_without_effect_are_told_with_their_reason(bench: Bench) -> None:
    wanted = settings(NET="y", FAR="y", UNKNOWN="y")
    job = msgspec.structs.replace(JOB, settings=wanted, unread=("a.config:1: no setting",))
    made = bench.compile(job)
    source = unpacked(bench.tarball, "source 1", bench.cache, lambda _: None)
    config = made.config
    config.write_text(config.read_text().replace("CONFIG_FAR=y\n", ""))
    told = lost(job, config, source, strict=False)
    assert told == [
        "a.config:1: no setting",
        "kernel: CONFIG_FAR=y (layer a/layer): is n: it depends on NEAR",
        "kernel: CONFIG_UNKNOWN=y (layer a/layer): is n: there is no such symbol",
    ]
    with pytest.raises(UserError, match="CONFIG_FAR=y"):
        lost(job, config, source, strict=True)


def test_what_is_missing_on_this_machine_is_told_before_anything_is_unpacked(
    bench: Bench, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_HEADERS", {"/nowhere/stdio.h": "libc6-dev"})
    with pytest.raises(UserError, match="libc6-dev") as raised:
        bench.compile()
    assert raised.value.hint.startswith("sudo apt-get install") and not (bench.cache / "sources").exists()


def test_what_the_menu_changed_becomes_lines_for_a_layer(tmp_path: Path) -> None:
    workspace = Workspace("one", tmp_path)
    with pytest.raises(UserError, match="no configuration of a kernel yet"):
        menu_changes(workspace)
    workspace.kernel.mkdir()
    (workspace.kernel / "layers.config").write_text("CONFIG_NET=y\nCONFIG_OLD=m\n# CONFIG_NEW is not set\n")
    (workspace.kernel / ".config").write_text("CONFIG_NET=y\nCONFIG_NEW=y\n# CONFIG_OLD is not set\n")
    assert menu_changes(workspace).splitlines() == ["CONFIG_NEW=y", "# CONFIG_OLD is not set"]
