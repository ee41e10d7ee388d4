"""Settings of U-Boot: laid over a defconfig, and missed when they have no effect."""

from __future__ import annotations

import pytest

from skiff.builders.uboot.settings import check, merged, read
from skiff.host.errors import UserError

CONFIG = '# a remark\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_NAME="x = y"\n'


def test_lines_are_read_and_remarks_are_not() -> None:
    assert read(CONFIG) == {"CONFIG_A": "y", "CONFIG_B": "n", "CONFIG_NAME": '"x = y"'}


def test_the_last_line_for_a_name_counts() -> None:
    text = merged(CONFIG, ["CONFIG_B=y\nCONFIG_C=7\n", "# CONFIG_A is not set\nCONFIG_C=8\n"])
    assert read(text) == {"CONFIG_A": "n", "CONFIG_B": "y", "CONFIG_NAME": '"x = y"', "CONFIG_C": "8"}


def test_what_was_taken_is_fine() -> None:
    check(CONFIG, ["CONFIG_A=y", "# CONFIG_B is not set", "# CONFIG_UNKNOWN is not set"], "board")
    # Only the last word on a setting has to come true.
    check(CONFIG, ["# CONFIG_A is not set", "CONFIG_A=y"], "board")


@pytest.mark.parametrize(
    "line", ["CONFIG_B=y", "CONFIG_UNKNOWN=y", "# CONFIG_A is not set", 'CONFIG_NAME="z"']
)
def test_a_setting_without_effect_is_told(line: str) -> None:
    with pytest.raises(UserError, match="board does not take these settings") as caught:
        check(CONFIG, ["CONFIG_A=y", line], "board")
    assert next(iter(read(line))) in caught.value.message
