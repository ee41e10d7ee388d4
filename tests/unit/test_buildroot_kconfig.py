"""Settings that come to nothing: found, and explained from the Kconfig files."""

from __future__ import annotations

from pathlib import Path

import pytest

from skiff.builders.buildroot.dropped import Dropped, dropped, report
from skiff.builders.buildroot.fragments import Setting
from skiff.builders.buildroot.kconfig import Kconfig
from skiff.host.errors import UserError

TOP = """\
config BR2_USE_MMU
    bool

menu "Packages"
    depends on BR2_LINUX

config BR2_LINUX_ONLY
    bool "only on linux"

endmenu

source "more/Config.in"
source "$BR2_BASE_DIR/made.in"

choice
    prompt "C library"

config BR2_GLIBC
    bool "glibc"

comment "glibc needs headers"
    depends on BR2_HEADERS

config BR2_MUSL
    bool "musl"
    help
      if this were read as Kconfig
      depends on BR2_NOTHING
      it would go wrong

endchoice

if BR2_USE_MMU && \\
    !BR2_STATIC

config BR2_SERVER
    bool "server"
    depends on BR2_GLIBC || \\
        BR2_MUSL
    depends on BR2_LIBC = "new"

endif
"""


@pytest.fixture
def kconfig(tmp_path: Path) -> Kconfig:
    (tmp_path / "Config.in").write_text(TOP)
    (tmp_path / "more").mkdir()
    (tmp_path / "more/Config.in").write_text('config BR2_PACKAGE_BUSYBOX\n\tbool "busybox"\n')
    (tmp_path / "out").mkdir()
    (tmp_path / "out/made.in").write_text('config BR2_MADE\n\tstring "made"\n')
    return Kconfig(tmp_path / "Config.in", tmp_path, {"BR2_BASE_DIR": str(tmp_path / "out")}, "")


def lost(kconfig: Kconfig, symbol: str, wanted: str, config: dict[str, str]) -> list[Dropped]:
    return dropped({symbol: Setting(symbol, wanted, (("my/app", wanted),))}, config, kconfig)


def reason(kconfig: Kconfig, symbol: str, wanted: str = "y", **config: str) -> str:
    (one,) = lost(kconfig, symbol, wanted, config)
    return one.reason


def test_files_are_followed_wherever_they_lie(kconfig: Kconfig) -> None:
    assert {"BR2_PACKAGE_BUSYBOX", "BR2_MADE", "BR2_SERVER"} <= set(kconfig.symbols)


@pytest.mark.parametrize(
    ("wanted", "config"),
    [("y", {"S": "y"}), ("m", {"S": "y"}), ("n", {}), ("0x1F", {"S": "0x1f"}), ('""', {})],
)
def test_what_was_taken_is_not_reported(kconfig: Kconfig, wanted: str, config: dict[str, str]) -> None:
    assert lost(kconfig, "S", wanted, config) == []


@pytest.mark.parametrize(
    ("wanted", "config"), [("y", {}), ("y", {"S": "m"}), ("n", {"S": "y"}), ('"a"', {"S": '"b"'})]
)
def test_what_was_not_taken_is(kconfig: Kconfig, wanted: str, config: dict[str, str]) -> None:
    (one,) = lost(kconfig, "S", wanted, config)
    assert (one.layer, one.wanted, one.actual) == ("my/app", wanted, config.get("S", "n"))


def test_a_value_that_is_none_is_told_as_such(kconfig: Kconfig) -> None:
    said = 'a value is y, m, n, a number, or a text in quotes: "text"'
    assert reason(kconfig, "BR2_PACKAGE_BUSYBOX", "Y") == said
    assert reason(kconfig, "BR2_MADE", "text") == said


def test_a_typo_is_told_with_the_nearest_symbol(kconfig: Kconfig) -> None:
    assert reason(kconfig, "BR2_PACKAGE_BUSYBX") == (
        "there is no such symbol; did you mean BR2_PACKAGE_BUSYBOX?"
    )
    assert reason(kconfig, "BR2_ZZZ") == "there is no such symbol"


def test_the_unmet_dependency_is_named(kconfig: Kconfig) -> None:
    assert reason(kconfig, "BR2_LINUX_ONLY") == "it depends on BR2_LINUX"
    config = {"BR2_USE_MMU": "y", "BR2_MUSL": "y", "BR2_LIBC": '"old"', "BR2_STATIC": "y"}
    assert reason(kconfig, "BR2_SERVER", **config) == 'it depends on !BR2_STATIC and on BR2_LIBC = "new"'
    config = {"BR2_USE_MMU": "y", "BR2_LIBC": '"new"'}
    assert reason(kconfig, "BR2_SERVER", **config) == "it depends on BR2_GLIBC || BR2_MUSL"


def test_a_choice_made_otherwise_is_named(kconfig: Kconfig) -> None:
    assert reason(kconfig, "BR2_MUSL", BR2_GLIBC="y") == "it is a choice, and BR2_GLIBC is chosen"


def test_a_symbol_without_prompt_cannot_be_set(kconfig: Kconfig) -> None:
    assert reason(kconfig, "BR2_USE_MMU").startswith("nobody can set it")


def test_what_others_select_cannot_be_taken_away(kconfig: Kconfig) -> None:
    assert "select" in reason(kconfig, "BR2_GLIBC", "n", BR2_GLIBC="y")


def test_a_prefix_is_put_before_the_kernels_symbols(tmp_path: Path) -> None:
    (tmp_path / "Kconfig").write_text(
        'source "arch/$(SRCARCH)/Kconfig"\nconfig NET\n\tbool "net"\n'
        'config INET\n\tbool "inet"\n\tdepends on NET\n'
    )
    (tmp_path / "arch/arm64").mkdir(parents=True)
    (tmp_path / "arch/arm64/Kconfig").write_text("config ARM64\n\tdef_bool y\n")
    kernel = Kconfig(tmp_path / "Kconfig", tmp_path, {"SRCARCH": "arm64"}, "CONFIG_")
    assert kernel.find("CONFIG_ARM64") is not None
    assert reason(kernel, "CONFIG_INET") == "it depends on NET"


def test_strict_makes_it_an_error() -> None:
    line = str(Dropped("BR2_X", "my/app", "y", "n", "it depends on BR2_Y"))
    assert line == "BR2_X=y (layer my/app): is n: it depends on BR2_Y"
    assert report([line], strict=False) == [line]
    with pytest.raises(UserError, match="BR2_X=y \\(layer my/app\\)"):
        report([line], strict=True)
    assert report([], strict=True) == []
