"""The cluster's ports: rules of the firewall that keep them to one interface."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.tool.device import Device

SCRIPT = Path(__file__).parents[2] / "layers/apps/cluster/rootfs/usr/lib/skiff/cluster"
INTERFACE = "mnt/persist/skiff/crew/cluster/interface"
# Keep each family's rules in a file.
_IPTABLES = """
{name}() (
    shift
    case "$1 $3" in
    -L*) [ -e "$SKIFF_ROOT/{name}" ] ;;
    "-t -C") grep -q -x -e "$2 $4 $5 $6" "$SKIFF_ROOT/{name}.calls" 2>/dev/null ;;
    "-t -I") echo "$2 $4 $5 $6" >>"$SKIFF_ROOT/{name}.calls" ;;
    esac
)
{name}_restore() {{ [ -z "$REFUSED" ] && grep -e ^-A >"$SKIFF_ROOT/{name}" || :; [ -z "$REFUSED" ]; }}
"""


@pytest.fixture
def device(tmp_path: Path) -> Device:
    made = Device(tmp_path)
    shutil.copy(SCRIPT, tmp_path / "usr/lib/skiff/cluster")
    return made


def apply(device: Device, refused: str = "") -> int:
    """Run the script, with functions of the shell in place of the programs."""
    programs = "".join(_IPTABLES.format(name=name) for name in ("iptables", "ip6tables"))
    script = (device.root / "usr/lib/skiff/cluster").read_text()
    script = script.replace(". /usr/lib/skiff/lib.sh", '. "$SKIFF_ROOT/usr/lib/skiff/lib.sh"')
    # A function's name has no hyphen.
    script = script.replace('"$1-restore"', '"$1_restore"')
    return device.raw(programs + script, env={"REFUSED": refused}).returncode


def rules(device: Device, name: str = "iptables") -> list[str]:
    return device.read(name).splitlines()


def test_ports_are_closed_but_on_one_interface(device: Device) -> None:
    device.put(INTERFACE, "eth1\n")
    for _ in range(2):
        assert apply(device) == 0
        for name in ("iptables", "ip6tables"):
            first, second, *others = [rule.split()[2:] for rule in rules(device, name)]
            assert (first, second) == (["-i", "lo", "-j", "RETURN"], ["-i", "eth1", "-j", "RETURN"])
            alone = [others.pop(), others.pop()]
            assert all(rule[:6] == ["!", "-i", "lo", "-p", "tcp", "--dport"] for rule in alone)
            assert {rule[6] for rule in alone if rule[-1] == "DROP"} == {"7947", "30000:32767"}
            closed = {(rule[1], rule[3]) for rule in others if rule[4:] == ["-j", "DROP"]}
            assert closed == {("tcp", "2377"), ("tcp", "7946"), ("udp", "7946"), ("udp", "4789")}
            called = device.read(f"{name}.calls").splitlines()
            assert called == ["filter INPUT -j SKIFF-CLUSTER", "mangle PREROUTING -j SKIFF-CLUSTER"]
    assert device.read("run/skiff/cluster") == "eth1\n"
    assert device.status("cluster")[:2] == ["ok", "in a cluster by eth1"]


def test_they_are_open_again_after_the_cluster(device: Device) -> None:
    device.put(INTERFACE, "eth1\n")
    apply(device)
    (device.root / INTERFACE).unlink()
    assert apply(device) == 0
    assert rules(device) == []
    assert not (device.root / "run/skiff/cluster").exists()
    assert not (device.root / "run/skiff/status/cluster").exists()


def test_a_device_in_no_cluster_has_no_rules(device: Device) -> None:
    assert apply(device) == 0
    assert not (device.root / "iptables").exists()


@pytest.mark.parametrize("content", ["", "\n", "eth1 -j ACCEPT\n", "../eth1\n"])
def test_a_damaged_name_opens_nothing(device: Device, content: str) -> None:
    device.put("run/skiff/cluster", "eth1\n")
    device.put(INTERFACE, content)
    assert apply(device) == 1
    assert device.status("cluster")[0] == "fail"
    assert not (device.root / "run/skiff/cluster").exists()
    assert not (device.root / "iptables").exists()


def test_rules_that_are_refused_are_told(device: Device) -> None:
    device.put(INTERFACE, "eth1\n")
    device.put("run/skiff/cluster", "eth1\n")
    assert apply(device, refused="yes") == 1
    assert device.status("cluster")[0] == "fail"
    # Crew goes by it: no cluster is made then.
    assert not (device.root / "run/skiff/cluster").exists()
