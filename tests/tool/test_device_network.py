"""Addresses from files and from DHCP, as the device's scripts understand them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.tool.device import LIB, Device

LOAD = '. "$LIB/network.sh"\n'


def interface(device: Device, name: str, mac: str = "52:54:00:12:34:56", index: int = 2) -> None:
    device.put(f"sys/class/net/{name}/address", mac + "\n")
    device.put(f"sys/class/net/{name}/ifindex", f"{index}\n")
    device.put(f"sys/class/net/{name}/type", "1\n")
    device.put(f"sys/class/net/{name}/device/vendor", "0x1af4\n")


@pytest.mark.parametrize("text", ["192.168.1.10/24", "10.0.0.1/8", "fd00::1/64", "1.2.3.4/32"])
def test_good_addresses(device: Device, text: str) -> None:
    assert device.says(f"{LOAD} is_cidr '{text}' && echo good") == "good"


@pytest.mark.parametrize(
    "text",
    [
        *("192.168.1.10", "192.168.1.300/24", "1.2.3/24", "1.2.3.4/33", "1.2.3.4/", "/24", "a.b.c.d/8"),
        *("1.2.3.4/24/8", "1.2.3.4.5/8", "1..2.3/8", "$(reboot)/24", "fd00::1/129", ":::/64", "0001.2.3.4/8"),
    ],
)
def test_bad_addresses(device: Device, text: str) -> None:
    assert device.says(f"{LOAD} is_cidr '{text}' || echo bad") == "bad"


def test_a_settings_file_is_read(device: Device) -> None:
    device.put(
        "x.conf",
        "# office\nADDRESS=192.168.1.10/24 fd00::10/64\r\nGATEWAY=192.168.1.1\n\nDNS=1.1.1.1 9.9.9.9",
    )
    told = device.says(
        LOAD + 'read_settings "$ROOT/x.conf" && echo "$ADDRESSES|$GATEWAYS|$SERVERS"',
    )
    assert told == "192.168.1.10/24 fd00::10/64| 192.168.1.1| 1.1.1.1 9.9.9.9"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("ADDRESS=192.168.1.10\n", "line 1"),
        ("ADDRESS=192.168.1.10/24\nGATEWAY=there\n", "line 2"),
        ("ADDRESS=192.168.1.10/24\nROUTE=1\n", "line 2"),
        ("ADDRESS=192.168.1.10/24\nhello\n", "line 2"),
        ("DNS=1.1.1.1\n", "no ADDRESS="),
        ("", "no ADDRESS="),
    ],
)
def test_a_wrong_settings_file_says_where(device: Device, text: str, wrong: str) -> None:
    device.put("x.conf", text)
    assert device.says(LOAD + 'read_settings "$ROOT/x.conf" || echo "$WRONG"') == wrong


def test_settings_are_never_run(device: Device, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    device.put("x.conf", f"ADDRESS=$(touch {mark})/24\nADDRESS=`touch {mark}`\n")
    device.says(LOAD + 'read_settings "$ROOT/x.conf" || echo refused')
    assert not mark.exists()


@pytest.mark.parametrize("name", ["eth0", "52:54:00:12:34:ab", "52-54-00-12-34-AB"])
def test_settings_are_found_by_name_and_by_hardware_address(device: Device, name: str) -> None:
    interface(device, "eth0", "52:54:00:12:34:ab")
    file = device.put(f"run/skiff/seen/network/{name}.conf", "")
    assert device.says(LOAD + 'settings_of eth0 && echo "$REPLY"') == str(file)


@pytest.mark.parametrize("name", ["eth1", "52:54:00:12:34:ac", "52-54-00", "README"])
def test_settings_of_others_are_left_alone(device: Device, name: str) -> None:
    interface(device, "eth0", "52:54:00:12:34:ab")
    device.put(f"run/skiff/seen/network/{name}.conf", "")
    assert device.says(LOAD + "settings_of eth0 || echo none") == "none"


@pytest.mark.parametrize("name", ["eth0", "52-54-00-12-34-56"])
def test_settings_that_never_end_are_left_alone(device: Device, name: str) -> None:
    interface(device, "eth0")
    (device.root / "run/skiff/seen/network").mkdir()
    os.mkfifo(device.root / f"run/skiff/seen/network/{name}.conf")
    device.says(LOAD + "ip() { :; }; udhcpc() { :; }; interface_start eth0")
    assert device.read("run/skiff/net/eth0.mode") == "dhcp\n"


def test_only_wired_hardware_is_configured(device: Device) -> None:
    interface(device, "eth0")
    interface(device, "wlan0")
    device.put("sys/class/net/wlan0/phy80211/name", "phy0\n")
    device.put("sys/class/net/docker0/type", "1\n")
    device.put("sys/class/net/lo/type", "772\n")
    assert device.says(LOAD + 'wired; echo "$IFACES"') == "eth0"


def test_a_static_address_is_set_with_gateway_and_name_server(device: Device) -> None:
    interface(device, "eth0")
    device.put("run/skiff/seen/network/eth0.conf", "ADDRESS=10.1.2.3/24\nGATEWAY=10.1.2.1\nDNS=10.1.2.1\n")
    told = device.says(LOAD + 'ip() { echo "ip $*"; }; interface_start eth0')
    assert told.split("\n") == [
        "ip link set eth0 up",
        "ip addr add 10.1.2.3/24 dev eth0",
        "ip route add default via 10.1.2.1 dev eth0 metric 102",
    ]
    assert device.read("run/skiff/resolv.conf") == "nameserver 10.1.2.1\n"
    assert device.status("net.eth0")[:2] == ["ok", "10.1.2.3/24 (static)"]


def test_a_link_that_is_on_already_costs_no_program(device: Device) -> None:
    for name, flags in (("eth0", "0x1003"), ("eth1", "0x1002")):
        interface(device, name)
        device.put(f"sys/class/net/{name}/flags", f"{flags}\n")
    assert device.says(LOAD + 'ip() { echo "ip $*"; }; link_up eth0; link_up eth1') == "ip link set eth1 up"


def looks(device: Device, *before: str) -> list[str]:
    """What the network service does in so many looks; before each of them a line of shell is run."""
    script = (LIB / "network").read_text().replace(". /usr/lib/", '. "$SKIFF_ROOT"/usr/lib/')
    acts = "".join(f"{number}) {act} ;;\n" for number, act in enumerate(before, 1))
    stubs = f"""
ip() {{ echo "ip $*"; }}
udhcpc() {{ echo "udhcpc $*"; }}
sv() {{ :; }}
turn=0
turn() {{
    turn=$((turn + 1))
    case $turn in
    {acts}
    *) exit 0 ;;
    esac
}}
pause() {{ turn; }}
turn
"""
    # The library's own `pause` must not take its place again.
    loaded = script.index("# Anything that was started")
    done = device.raw(script[:loaded] + stubs + script[loaded:])
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def static(device: Device, carrier: int) -> None:
    interface(device, "eth0")
    device.put("sys/class/net/eth0/carrier", f"{carrier}\n")
    device.put("run/skiff/seen/network/eth0.conf", "ADDRESS=10.1.2.3/24\n")


STARTED = ["ip link set eth0 up", "ip addr add 10.1.2.3/24 dev eth0"]


def test_a_card_that_was_reset_is_set_up_again(device: Device) -> None:
    static(device, 1)
    reset = 'echo 7 >"$SYS/class/net/eth0/ifindex"'
    assert looks(device, ":", ":", reset, ":") == [*STARTED, "ip addr flush dev eth0", *STARTED]


def test_a_cable_that_is_not_there_from_the_start_is_told(device: Device) -> None:
    static(device, 0)
    assert looks(device, ":", ":") == STARTED
    assert device.status("net.eth0")[0] == "ok"
    assert looks(device, ":") == []
    assert device.status("net.eth0")[:2] == ["warn", "10.1.2.3/24 (static), cable unplugged"]


def test_a_cable_that_is_noticed_late_changes_nothing(device: Device) -> None:
    static(device, 0)
    assert looks(device, ":", ":", 'echo 1 >"$SYS/class/net/eth0/carrier"', ":") == STARTED
    assert device.status("net.eth0")[0] == "ok"


def test_a_wrong_file_falls_back_to_dhcp_and_is_told(device: Device) -> None:
    interface(device, "eth0")
    device.put("run/skiff/seen/network/eth0.conf", "ADDRESS=here\n")
    told = device.says(
        LOAD + 'ip() { :; }; udhcpc() { echo "$*" >"$ROOT/asked"; }; interface_start eth0; wait'
    )
    assert told == ""
    assert "-i eth0" in device.read("asked")
    state, text, hint = device.status("net.eth0")
    assert state == "warn"
    assert "eth0.conf, line 1" in text
    assert "ADDRESS=" in hint


def test_static_addresses_are_told_to_those_who_wait_for_one(device: Device) -> None:
    interface(device, "eth0")
    device.put("run/skiff/seen/network/eth0.conf", "ADDRESS=192.168.1.10/24\n")
    assert device.says(LOAD + 'ip() { echo "$*"; }; interface_start eth0').split("\n") == [
        "link set eth0 up",
        "addr add 192.168.1.10/24 dev eth0",
    ]
    changed = device.root / "run/skiff/net/changed"
    changed.unlink()
    device.says(LOAD + "ip() { :; }; interface_stop eth0")
    assert changed.exists()


def test_a_client_at_work_ends_before_its_interface_is_set_anew(device: Device) -> None:
    interface(device, "eth0")
    # As udhcpc does: what it was told to do is done first.
    client = (
        "(trap 'pause 0.3; echo lease set; exit' TERM; : >\"$ROOT/ready\"; while :; do pause 0.1; done) &"
    )
    started = 'echo $! >"$NET/eth0.pid"; until [ -e "$ROOT/ready" ]; do pause 0.1; done'
    said = device.says(f'{LOAD}{client}\n{started}\nip() {{ echo "ip $*"; }}\ninterface_stop eth0')
    assert said.split("\n") == ["lease set", "ip addr flush dev eth0"]


def dhcp(device: Device, event: str, **env: str) -> list[str]:
    script = (
        'for name in ip ifconfig; do eval "$name() { echo $name \\"\\$@\\"; }"; done\n'
        'arping() { case $* in *"$TAKEN"*) return 1 ;; esac; }\n'
        f'set -- {event}; . "$SKIFF_ROOT/usr/lib/skiff/dhcp"'
    )
    done = device.raw(script, env={"interface": "eth0", "TAKEN": "none", **env})
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_a_lease_sets_address_route_and_servers(device: Device) -> None:
    interface(device, "eth0", index=3)
    told = dhcp(
        device,
        "bound",
        ip="10.0.2.15",
        mask="24",
        router="10.0.2.2",
        dns="10.0.2.3 evil;word",
        ntpsrv="10.0.2.4",
    )
    assert told == [
        "ip addr add 10.0.2.15/24 broadcast + dev eth0",
        "ip route add default via 10.0.2.2 dev eth0 metric 103",
    ]
    assert device.read("run/skiff/resolv.conf") == "nameserver 10.0.2.3\n"
    assert device.read("run/skiff/net/eth0.sources") == "server 10.0.2.4 iburst\n"
    assert device.status("net.eth0")[:2] == ["ok", "10.0.2.15/24 (DHCP)"]


def test_a_lease_without_a_mask_has_one(device: Device) -> None:
    interface(device, "eth0")
    assert "ip addr add 10.0.2.15/24 broadcast + dev eth0" in dhcp(device, "bound", ip="10.0.2.15")
    assert device.status("net.eth0")[:2] == ["ok", "10.0.2.15/24 (DHCP)"]


def test_a_renewed_lease_changes_nothing(device: Device) -> None:
    interface(device, "eth0")
    lease = {"ip": "10.0.2.15", "mask": "24", "router": "10.0.2.2"}
    dhcp(device, "bound", **lease)
    changed = device.root / "run/skiff/net/changed"
    changed.unlink()
    assert dhcp(device, "renew", **lease) == []
    assert not changed.exists()
    assert dhcp(device, "deconfig") == ["ip -4 addr flush dev eth0"]
    assert changed.exists()


def test_another_lease_takes_the_old_address_away(device: Device) -> None:
    interface(device, "eth0")
    dhcp(device, "bound", ip="10.0.2.15", mask="24")
    assert dhcp(device, "renew", ip="10.0.2.16", mask="24") == [
        "ip -4 addr flush dev eth0",
        "ip addr add 10.0.2.16/24 broadcast + dev eth0",
    ]


def test_no_answer_gives_a_link_local_address(device: Device) -> None:
    interface(device, "eth0", "52:54:00:12:10:20")
    assert dhcp(device, "leasefail") == ["ifconfig eth0 169.254.17.32 netmask 255.255.0.0"]
    assert device.status("net.eth0")[0] == "warn"
    assert "169.254.17.32" in device.status("net.eth0")[1]
    assert device.read("run/skiff/net/changed")


def test_a_link_local_address_in_use_is_not_taken(device: Device) -> None:
    interface(device, "eth0", "52:54:00:12:10:20")
    assert dhcp(device, "leasefail", TAKEN="169.254.17.32") == [
        "ifconfig eth0 169.254.18.69 netmask 255.255.0.0"
    ]


def test_the_start_of_a_client_costs_nothing(device: Device) -> None:
    interface(device, "eth0")
    assert dhcp(device, "deconfig") == []


def test_name_servers_of_all_interfaces_are_joined(device: Device) -> None:
    device.put("run/skiff/net/eth0.dns", "nameserver 1.1.1.1\nnameserver 9.9.9.9\n")
    device.put("run/skiff/net/eth1.dns", "nameserver 9.9.9.9\nnameserver 8.8.8.8\n")
    device.says(LOAD + "write_resolv")
    assert (
        device.read("run/skiff/resolv.conf") == "nameserver 1.1.1.1\nnameserver 9.9.9.9\nnameserver 8.8.8.8\n"
    )


# Two cables, each with its other end; the first of them is preferred.
CABLES = f"""
{LOAD}
for number in 0 1; do
    ip link add name eth$number type veth || exit 77
    ip link set veth$number up
    ip link set eth$number up
    ip addr add 10.0.$number.5/24 dev eth$number
    ip route add default via 10.0.$number.1 dev eth$number metric 10$number
done
# Of the kernel's settings, those that no other network shares.
grep '^net' "$ETC/sysctl.conf" >"$RUN/net.conf"
sysctl -q -p "$RUN/net.conf" 2>/dev/null
# A condition that comes true within seconds.
soon() {{
    turns=0
    until "$@"; do
        turns=$((turns + 1))
        [ $turns -lt 100 ] || return 1
        pause 0.1
    done
}}
"""


def with_cables(device: Device, script: str) -> str:
    """What a script prints in a network of its own, with the kernel's own settings of it."""
    shutil.rmtree(device.root / "proc")
    (device.root / "proc").symlink_to("/proc")
    words = ["unshare", "--net", "--map-root-user", device.busybox, "sh", "-c"]
    done = subprocess.run(
        [*words, f'. "$SKIFF_ROOT/usr/lib/skiff/lib.sh"\n{CABLES}{script}'],
        env={**os.environ, "SKIFF_ROOT": str(device.root)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("needs networks of one's own")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_nothing_is_sent_into_a_cable_that_was_pulled_out(device: Device) -> None:
    script = """
    way() { ip route get $1 | grep -q "dev $2 "; }
    way 192.0.2.1 eth0 && way 10.0.0.9 eth0 && echo before
    ip link set veth0 down
    soon way 192.0.2.1 eth1 && soon way 10.0.0.9 eth1 && echo after"""
    assert with_cables(device, script).split() == ["before", "after"]


def test_addresses_of_ipv6_that_the_kernel_makes_stay_or_come_back(device: Device) -> None:
    interface(device, "eth0")
    script = """
    own() { ip -6 addr show dev eth0 | grep -q ' fe80:'; }
    soon own && echo before
    echo 10.0.0.5/24 >"$NET/eth0.lease"
    (interface=eth0 ip=10.0.0.7 mask=24; set -- bound; . "$LIB/dhcp")
    own && echo "after a lease"
    ip addr add fd00::5/64 dev eth0
    interface_stop eth0
    soon own && echo "after the cable was plugged in again"
    ip addr show dev eth0 | grep -e fd00: -e 10.0.0. || :"""
    assert with_cables(device, script).split("\n") == [
        "before",
        "after a lease",
        "after the cable was plugged in again",
    ]


def test_all_cards_hear_of_routers_and_none_is_led_elsewhere(device: Device) -> None:
    conf = "proc/sys/net/ipv6/conf"
    for name in ("all", "default", "eth0"):
        device.put(f"{conf}/{name}/accept_ra", "1\n")
        device.put(f"{conf}/{name}/accept_redirects", "1\n")
    device.put("sys/kernel/rcu_expedited", "1\n")
    script = (LIB / "late").read_text().replace(". /usr/lib/", '. "$SKIFF_ROOT"/usr/lib/')
    # What persist's overlay says of one goes before.
    stub = f'sysctl() {{ echo 0 >"$SKIFF_ROOT/{conf}/eth0/accept_ra"; }}\n'
    assert device.raw(stub + script).returncode == 0
    for name, heard in (("all", "2\n"), ("default", "2\n"), ("eth0", "0\n")):
        assert device.read(f"{conf}/{name}/accept_ra") == heard
        assert device.read(f"{conf}/{name}/accept_redirects") == "0\n"
