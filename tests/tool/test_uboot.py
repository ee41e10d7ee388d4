"""Compiling U-Boot, with a source of a few lines and a compiler that only tells its version."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from skiff.builders.uboot import compile as stage
from skiff.builders.uboot.compile import Job, compile_uboot
from skiff.host.errors import UserError
from skiff.host.run import CommandError, which
from skiff.model.arch import Arch
from tests.tool.fake_machine import FakeHost

# Makes of `.config` and its environment what U-Boot's would; counts how often.
MAKEFILE = """\
%_defconfig:
\tcp configs/$@ $(O)/.config
olddefconfig:
\tgrep -v CONFIG_UNKNOWN $(O)/.config >$(O)/new && mv $(O)/new $(O)/.config
u-boot.bin:
\techo once >>$(COUNT)
\ttest ! -e $(FAILS) || { echo "board.c:7: error: it is wrong"; exit 1; }
\tcat $(O)/.config >$@.tmp && cp $@.tmp $(O)/u-boot.bin && rm $@.tmp
\techo "$(CROSS_COMPILE) $(SOURCE_DATE_EPOCH) $(BL31) $(CFLAGS)" >>$(O)/u-boot.bin
"""
CHANGELOG = """\
u-boot (2025.01-3) trixie; urgency=medium

  * A change.

 -- Some Body <some@body.example>  Fri, 20 Nov 2026 00:00:00 +0000
"""
EPOCH = 1795132800
JOB = Job(Arch.ARM64, "board", "u-boot.bin", ("u-boot.bin",), (), {})


class Bench:
    """A source, a cache, and what was compiled."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.source, self.cache = root / "source", root / "cache"
        (self.source / "configs").mkdir(parents=True)
        (self.source / "debian").mkdir()
        (self.source / "Makefile").write_text(MAKEFILE)
        (self.source / "debian/changelog").write_text(CHANGELOG)
        (self.source / "configs/board_defconfig").write_text(
            "CONFIG_ARM=y\n# CONFIG_CMD_SETEXPR is not set\n"
        )
        self.count, self.fails = root / "count", root / "fails"
        monkeypatch.setenv("COUNT", str(self.count))
        monkeypatch.setenv("FAILS", str(self.fails))
        # The user's own must not get in.
        monkeypatch.setenv("CFLAGS", "-DMINE")

    def compile(self, job: Job = JOB, key: str = "source 1") -> str:
        made = compile_uboot(job, self.source, key, self.cache, lambda _: None)
        return made["u-boot.bin"].read_text()

    @property
    def compiled(self) -> int:
        return len(self.count.read_text().splitlines()) if self.count.exists() else 0

    @property
    def kept(self) -> list[str]:
        return sorted(path.name for path in (self.cache / "uboot").iterdir())


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    made = FakeHost(tmp_path, monkeypatch)
    for name in ("aarch64-linux-gnu-gcc", "bison", "flex", "bc"):
        made.program(name, "echo 12.2.0")
    return made


@pytest.fixture
def bench(host: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_what_the_scripts_need_is_switched_on(bench: Bench) -> None:
    text = bench.compile()
    for line in ("CONFIG_ARM=y", "CONFIG_CMD_SETEXPR=y", "CONFIG_CMD_BOOTI=y", "CONFIG_ENV_IS_NOWHERE=y"):
        assert line in text.splitlines()
    assert "# CONFIG_ENV_IS_IN_MMC is not set" in text.splitlines()
    assert text.splitlines()[-1].split() == ["aarch64-linux-gnu-", str(EPOCH)]


def test_it_is_compiled_once_for_the_same_inputs(bench: Bench, tmp_path: Path) -> None:
    first = bench.compile()
    assert bench.compile() == first and bench.compiled == 1
    fragment = tmp_path / "more.config"
    fragment.write_text("CONFIG_MORE=y\n")
    more = msgspec.structs.replace(JOB, fragments=(fragment,))
    assert "CONFIG_MORE=y" in bench.compile(more) and bench.compiled == 2
    fragment.write_text("CONFIG_MORE=7\n")
    assert "CONFIG_MORE=7" in bench.compile(more) and bench.compiled == 3
    bench.compile(key="source 2")
    assert bench.compiled == 4
    # The first one is still there.
    assert bench.compile() == first and bench.compiled == 4


def test_files_that_it_needs_are_named_to_make(bench: Bench, tmp_path: Path) -> None:
    monitor = tmp_path / "bl31.elf"
    monitor.write_bytes(b"one")
    job = msgspec.structs.replace(JOB, inputs={"BL31": monitor})
    assert str(monitor) in bench.compile(job)
    monitor.write_bytes(b"two")
    bench.compile(job)
    assert bench.compiled == 2


def test_a_failure_shows_the_compiler_s_words_and_leaves_nothing(bench: Bench) -> None:
    bench.fails.touch()
    with pytest.raises(CommandError, match="it is wrong"):
        bench.compile()
    assert bench.kept == []
    bench.fails.unlink()
    bench.compile()
    assert len(bench.kept) == 1


def test_an_interruption_leaves_nothing(bench: Bench) -> None:
    def interrupt(line: str) -> None:
        if "once" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compile_uboot(JOB, bench.source, "source 1", bench.cache, interrupt)
    assert bench.kept == []


@pytest.mark.parametrize(
    ("job", "says"),
    [
        (msgspec.structs.replace(JOB, defconfig="other"), "U-Boot has no other_defconfig"),
        (msgspec.structs.replace(JOB, files=("u-boot.itb",)), "gave no u-boot.itb"),
    ],
)
def test_mistakes_of_a_layer(bench: Bench, job: Job, says: str) -> None:
    with pytest.raises(UserError, match=says):
        bench.compile(job)
    assert bench.kept == []


def test_a_setting_without_effect_is_refused(bench: Bench, tmp_path: Path) -> None:
    fragment = tmp_path / "wrong.config"
    fragment.write_text("CONFIG_UNKNOWN=y\n")
    with pytest.raises(UserError, match="CONFIG_UNKNOWN=y"):
        bench.compile(msgspec.structs.replace(JOB, fragments=(fragment,)))
    assert bench.compiled == 0


def test_missing_programs_are_named_at_once(
    bench: Bench, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    (host.bin / "aarch64-linux-gnu-gcc").unlink()
    (host.bin / "bison").unlink()
    monkeypatch.setattr("skiff.host.run.which", lambda name: None if name in MISSING else which(name))
    with pytest.raises(UserError) as caught:
        bench.compile()
    assert caught.value.message == "not installed on this machine: aarch64-linux-gnu-gcc, bison"
    assert caught.value.hint.endswith("bison gcc-aarch64-linux-gnu")


MISSING = ("aarch64-linux-gnu-gcc", "bison")


def test_boards_with_parts_need_more(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "_BINMAN", {"no_such_module": "python3-no-such"})
    (bench.source / "configs/board_defconfig").write_text("CONFIG_BINMAN=y\n")
    with pytest.raises(UserError, match=r"python3-no-such|swig"):
        bench.compile()
