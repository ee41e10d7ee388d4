"""A boot's timeline out of the kernel's log, as table and picture."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from skiff.__main__ import main
from skiff.host.errors import UserError
from skiff.machine.boot_chart import boot_svg, longest
from skiff.machine.boot_log import Span, read_boot

LOG = """\
[    0.000000] Linux version 6.12.118
[    0.410000] calling  pci_init+0x0/0x30 @ 1
[    0.450000] initcall pci_init+0x0/0x30 returned 0 after 40000 usecs
[    0.451000] initcall short_one+0x0/0x8 returned -19 after 12 usecs
[    1.000000] Run /init as init process
<4>[    1.500000] skiff-trace: boot: start
[    1.900000] skiff-trace: boot: drivers
[    2.000000] skiff-trace: boot: done
[    2.050000] skiff-trace: network: eth0 has 10.0.2.15/24
[    2.060000] skiff-trace: ssh: start
[    2.100000] skiff-trace: ssh: dropbear
[    2.200000] skiff-trace: services: start
[    3.000000] skiff-trace: persist: start
[    5.000000] skiff-trace: persist: mounted
[    6.000000] skiff-trace: ssh: start
[    9.500000] skiff-trace: engine: ready
"""


def test_lanes_go_from_kernel_to_engine() -> None:
    boot = read_boot(LOG)
    assert [(span.lane, span.start, span.end) for span in boot.lanes] == [
        ("kernel", 0.0, 1.0),
        ("init", 1.0, 1.5),
        ("boot", 1.5, 2.0),
        ("network", 1.9, 2.05),
        # Not the start that came later.
        ("ssh", 2.06, 2.2),
        ("persist", 3.0, 5.0),
        ("engine", 5.0, 9.5),
    ]
    assert boot.end == 9.5
    assert [span for span in boot.steps if span.lane == "boot"] == [
        Span("boot", "drivers", 1.5, 1.9),
        Span("boot", "done", 1.9, 2.0),
    ]


def test_of_the_drivers_those_that_took_long_are_named() -> None:
    assert [(span.name, round(span.start, 2)) for span in longest(read_boot(LOG).initcalls)] == [
        ("pci_init", 0.41)
    ]


def test_a_boot_that_is_not_over_has_what_it_reached() -> None:
    boot = read_boot(LOG[: LOG.index("[    3.0")].replace("[    1.000000] Run /init as init process\n", ""))
    assert [span.lane for span in boot.lanes] == ["kernel", "boot", "network", "ssh"]
    assert boot.lanes[0].end == 1.5


def test_a_log_without_steps_or_times_says_how_to_get_them() -> None:
    with pytest.raises(UserError, match="no steps of the boot") as raised:
        read_boot("Linux version 6.12.118\nskiff-trace: boot: start\n")
    assert "--append skiff.trace --append initcall_debug --append printk.time=1" in raised.value.hint


def test_the_picture_has_a_field_for_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, svg = tmp_path / "dmesg.txt", tmp_path / "boot.svg"
    log.write_text(LOG)
    assert main(["boot-chart", "--log", str(log), "--svg", str(svg)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["0.00", "s", "1.00", "s", "1.00", "s", "kernel"]
    assert lines[-1].split() == ["5.00", "s", "9.50", "s", "4.50", "s", "engine"]
    titles = [item.text or "" for item in ElementTree.parse(svg).iter("{http://www.w3.org/2000/svg}title")]
    assert "engine: engine, 5.000 s to 9.500 s" in titles
    assert "kernel: pci_init, 0.410 s to 0.450 s" in titles
    assert not any("short_one" in title for title in titles)


def test_names_of_a_log_cannot_break_the_picture() -> None:
    boot = read_boot(LOG.replace("boot: drivers", "boot: <script>&"))
    ElementTree.fromstring(boot_svg(boot, "a < b"))
