"""Wi-Fi: files that name networks, what wpa_supplicant tells, and drivers that wait for SSH."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import pytest

from tests.tool.device import Device

LAYERS = Path(__file__).parents[2] / "layers" / "net"
LOAD = (
    '. "$LIB/network.sh"; . "$LIB/wifi-files.sh"; . "$LIB/wifi-state.sh"\n'
    "WIFI=$RUN/wifi IFACE=wlan0 ENDED=0\n"
)
FILES = "run/skiff/seen/wifi"
HOME = "ssid=home\npassword=correct horse\n"


@pytest.fixture
def wifi(device: Device) -> Device:
    """A machine with the layer's scripts, and a wireless card."""
    shutil.copytree(LAYERS / "wifi" / "rootfs", device.root, dirs_exist_ok=True)
    device.put("run/skiff/wifi/conf", "")
    device.put("proc/uptime", "100.00 1.00\n")
    device.put("sys/class/net/wlan0/phy80211/name", "phy0\n")
    device.put("sys/class/net/wlan0/device/vendor", "1\n")
    device.put("sys/class/net/wlan0/type", "1\n")
    device.put("sys/class/net/wlan0/ifindex", "3\n")
    return device


def conf(device: Device) -> str:
    """The configuration made of the files that are there."""
    return device.says(LOAD + 'gather_wifi; printf %s "$CONF"')


def bad(device: Device) -> str:
    """What is said of files that are left out."""
    return device.says(LOAD + 'gather_wifi; echo "$BAD|$BAD_FIX"')


def test_a_network_of_name_and_password(wifi: Device) -> None:
    wifi.put(f"{FILES}/home.conf", HOME + "country=DE\n")
    assert conf(wifi) == (
        "ctrl_interface=/run/wpa_supplicant\nsae_pwe=2\np2p_disabled=1\ncountry=DE\n"
        'network={\n\tssid="home"\n\tscan_ssid=0\n\tpriority=0\n'
        '\tkey_mgmt=WPA-PSK WPA-PSK-SHA256 SAE\n\tpsk="correct horse"\n\tieee80211w=1\n}'
    )


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("ssid=a\nsecurity=open\n", ['ssid="a"', "key_mgmt=NONE"]),
        ("ssid=a\npassword=x\nsecurity=wpa3\n", ["key_mgmt=SAE", 'sae_password="x"', "ieee80211w=2"]),
        ("ssid=a\npassword=12345678\nsecurity=wpa2\n", ["key_mgmt=WPA-PSK", 'psk="12345678"']),
        (f"ssid=a\npsk={'0aF1' * 16}\n", ["key_mgmt=WPA-PSK WPA-PSK-SHA256", f"psk={'0aF1' * 16}"]),
        (f"ssid=a\npassword={'0aF1' * 16}\n", [f"psk={'0aF1' * 16}"]),
        (
            '\ufeff# mine\r\n SSID = "a b "\r\npassword="12345678"\r\nhidden=yes\r\npriority=7',
            ['ssid="a b "', 'psk="12345678"', "scan_ssid=1", "priority=7"],
        ),
        ('ssid=a"b\npassword=1234"5678#\n', ['ssid="a"b"', 'psk="1234"5678#"']),
        ("ssid=$(reboot)\npassword=`reboot` *\n", ['ssid="$(reboot)"', 'psk="`reboot` *"']),
    ],
)
def test_good_files(wifi: Device, text: str, lines: list[str]) -> None:
    wifi.put(f"{FILES}/a.conf", text)
    assert bad(wifi) == "|"
    assert set(lines) <= {line.strip() for line in conf(wifi).splitlines()}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "a.conf, ssid: missing|add ssid=NAME"),
        ("password=12345678\n", "a.conf, ssid: missing|add ssid=NAME"),
        (f"ssid={'x' * 33}\nsecurity=open\n", "a.conf, ssid: longer than 32 characters"),
        ("ssid=a\n", "a.conf, password: missing|add password=WORD, or security=open"),
        ("ssid=a\npassword=1234567\n", "a.conf, password: 7 characters|WPA2 has 8 to 63"),
        (f"ssid=a\npassword={'x' * 64}\n", "a.conf, password: 64 characters"),
        ("ssid=a\npassword=12345678\nsecurity=open\n", "a.conf, password: there is none"),
        ("ssid=a\nsecurity=wpa3\n", "a.conf, password: missing"),
        ("ssid=a\nsecurity=wep\n", "a.conf, security: wep is not known|security=wpa2, wpa3 or open"),
        ("ssid=a\npsk=12345678\n", "a.conf, psk: not 64 hexadecimal digits"),
        ("ssid=a\nhidden=1\n", "a.conf, hidden: 1|hidden=yes"),
        ("ssid=a\npriority=high\n", "a.conf, priority: high is no number"),
        ("ssid=a\ncountry=Germany\n", "a.conf, country: Germany|two capital letters"),
        ("ssid=a\nkey=12345678\n", "a.conf, key: no such key|the keys are ssid"),
        ("ssid=a\nhello\n", "a.conf, line 2: no KEY=VALUE|write ssid=NAME"),
        ('network={\nssid="a"\n}\n', "a.conf, line 1: the format of another program"),
        ("[Security]\n", "a.conf, line 1: the format of another program"),
        ("ssid=a\tb\nsecurity=open\n", "a.conf, ssid: a control character"),
    ],
)
def test_a_bad_file_is_told_and_left_out(wifi: Device, text: str, told: str) -> None:
    wifi.put(f"{FILES}/a.conf", text)
    wifi.put(f"{FILES}/b.conf", HOME)
    assert bad(wifi).startswith(told)
    assert conf(wifi).count("network={") == 1


def test_a_file_by_another_name_is_told(wifi: Device) -> None:
    wifi.put(f"{FILES}/home.conf.txt", HOME)
    wifi.put(f"{FILES}/README", "hello\n")
    assert bad(wifi) == "home.conf.txt: its name does not end in .conf|mv home.conf.txt NAME.conf"


def test_persist_replaces_a_file_of_the_image_and_adds_to_the_others(wifi: Device) -> None:
    wifi.put("etc/skiff/wifi/home.conf", HOME.replace("correct", "old"))
    wifi.put("etc/skiff/wifi/site.conf", "ssid=site\nsecurity=open\n")
    wifi.put(f"{FILES}/home.conf", HOME)
    assert "old horse" not in conf(wifi)
    assert wifi.says(LOAD + 'gather_wifi; printf %s "$NAMES"').splitlines() == ["home", "site"]


EVENTS = {
    "tried": "wlan0: SME: Trying to authenticate with 02:00:00:00:01:00 (SSID='home' freq=2412 MHz)",
    "joined": "wlan0: CTRL-EVENT-CONNECTED - Connection to 02:00:00:00:01:00 completed [id=1 id_str=]",
    "left": "wlan0: CTRL-EVENT-DISCONNECTED bssid=02:00:00:00:01:00 reason=3",
    "wpa2": 'wlan0: CTRL-EVENT-SSID-TEMP-DISABLED id=1 ssid="home" auth_failures=1 reason=WRONG_KEY',
    "wpa3": "wlan0: CTRL-EVENT-AUTH-REJECT 02:00:00:00:01:00 auth_type=3 auth_transaction=2 status_code=1",
    "full": "wlan0: CTRL-EVENT-ASSOC-REJECT bssid=02:00:00:00:01:00 status_code=17",
}


def after(wifi: Device, *events: str, before: str = "", then: str = "tell") -> list[str]:
    """State, text and hint of the line after these messages."""
    wifi.put(f"{FILES}/a.conf", "ssid=attic\nsecurity=open\n")
    wifi.put(f"{FILES}/b.conf", HOME)
    # No message has both kinds of quotes: as Python writes them is fine for the shell.
    lines = "\n".join(f"event {EVENTS[name]!r} || :" for name in events)
    stubs = 'logger() { :; }\nwpa_cli() { cat "$ROOT/scan"; }\n'
    wifi.says(f"{LOAD}{stubs}gather_wifi; forget; {before}\n{lines}\n{then}")
    return wifi.status("wifi")


def test_a_joined_network_with_signal_and_address(wifi: Device) -> None:
    wifi.put("scan", "RSSI=-40\nLINKSPEED=54\nNOISE=9999\nFREQUENCY=2412\n")
    assert after(wifi, "joined") == ["wait", "home, -40 dBm, no address yet", ""]
    wifi.put("run/skiff/status/net.wlan0", "ok\t10.0.0.5/24 (DHCP)\t\n")
    assert after(wifi, "joined") == ["ok", "home, -40 dBm, 10.0.0.5/24 (DHCP)", ""]
    # A program is started for it, so not at each look; and again when a network is joined.
    again = 'tell; printf "RSSI=-60\n" >"$ROOT/scan"; tell'
    assert after(wifi, "joined", then=again)[1] == "home, -40 dBm, 10.0.0.5/24 (DHCP)"
    wifi.put("scan", "RSSI=-40\n")
    anew = f"{again}; event {EVENTS['joined']!r} || :; tell"
    assert after(wifi, "joined", then=anew)[1] == "home, -60 dBm, 10.0.0.5/24 (DHCP)"


def test_addresses_of_another_network_are_given_up(wifi: Device) -> None:
    again = wifi.root / "run/skiff/net/wlan0.again"
    after(wifi, "joined")
    assert not again.exists()
    wifi.put("run/skiff/net/wlan0.mode", "dhcp\n")
    after(wifi, "joined")
    assert not again.exists()
    wifi.put("run/skiff/wifi/last", "attic\n")
    after(wifi, "joined")
    assert again.exists()


@pytest.mark.parametrize("kind", ["wpa2", "wpa3"])
def test_a_wrong_password(wifi: Device, kind: str) -> None:
    state, text, hint = after(wifi, "tried", kind, "left")
    assert (state, text) == ("fail", "wrong password for home")
    assert "skiff/wifi/" in hint
    assert after(wifi, "tried", kind, "joined")[0] == "wait"


def test_a_network_that_refuses(wifi: Device) -> None:
    assert after(wifi, "tried", "full")[1] == "looking for attic"
    assert after(wifi, "tried", "full", "full")[1] == "home does not let us join (status 17)"
    wifi.put("scan", "")
    late = 'echo "600.00 1" >"$PROC/uptime"; tell'
    assert after(wifi, "tried", "full", "full", then=late)[1] == "networks attic, home not seen"


def test_a_network_that_is_not_there(wifi: Device) -> None:
    late = 'echo "130.00 1" >"$PROC/uptime"; tell'
    head = "bssid / frequency / signal level / flags / ssid\n"
    wifi.put("scan", head)
    assert after(wifi)[1] == "looking for attic"
    assert after(wifi, then=late)[:2] == ["fail", "networks attic, home not seen"]
    wifi.put("proc/uptime", "100.00 1.00\n")
    wifi.put("scan", f"{head}02:00:00:00:01:00\t2412\t-30\t[WPA2-EAP-CCMP][ESS]\thome\n")
    assert after(wifi, then=late)[1] == "looking for home"
    later = 'echo "150.00 1" >"$PROC/uptime"; tell'
    wifi.put("proc/uptime", "100.00 1.00\n")
    assert (
        after(wifi, then=f"{late}; {later}")[1]
        == "home is seen, but cannot be joined; it offers [WPA2-EAP-CCMP][ESS]"
    )


@pytest.mark.parametrize("breaks", [r"x\n", r"\x0a", r"\x00\n", r"\xc2\x85\n"])
def test_a_name_from_the_air_does_not_reach_the_terminal(wifi: Device, breaks: str) -> None:
    """A name that tells of our own network, with a text of its choice behind."""
    row = "02:00:00:00:01:00\t2412\t-30\t[ESS]\t{}\n"
    wifi.put("scan", row.format(rf"{breaks}home\t\e]0;owned") + row.format(r"caf\xc3\xa9"))
    seen = wifi.says(f'{LOAD}wpa_cli() {{ cat "$ROOT/scan"; }}\nlook_around; echo "$SEEN_NAMES"')
    assert seen == "café\t[ESS]"


def test_no_card_and_no_file(wifi: Device) -> None:
    wifi.says(LOAD + "gather_wifi; IFACE=; forget; tell")
    assert wifi.status("wifi")[0] == "ok"
    assert after(wifi, before="IFACE=")[1] == "looking for a wireless device"
    assert after(wifi, before="IFACE= SINCE=80")[:2] == ["fail", "no wireless device"]


def test_a_wireless_card_has_an_address_when_it_has_joined_and_comes_after_the_cable(wifi: Device) -> None:
    look = LOAD + 'wired; joined; echo "$IFACES"'
    wifi.put("sys/class/net/wlan0/operstate", "dormant\n")
    assert wifi.says(look) == ""
    wifi.put("sys/class/net/wlan0/operstate", "up\n")
    assert wifi.says(look) == "wlan0"
    wifi.put("sys/class/net/eth0/ifindex", "900\n")
    assert wifi.says(LOAD + "metric_of eth0; echo $METRIC; metric_of wlan0; echo $METRIC") == "1000\n1103"


def test_an_image_without_wifi_says_that_the_files_are_not_read(device: Device) -> None:
    look = '. "$LIB/live.sh"; wifi_unread'
    device.sh(look)
    assert not (device.root / "run/skiff/status/wifi").exists()
    device.put(f"{FILES}/home.conf", HOME)
    device.sh(look)
    assert device.status("wifi")[:2] == ["warn", "skiff/wifi/home.conf: this image has no Wi-Fi"]


@pytest.mark.parametrize("layer", sorted(path.name for path in LAYERS.glob("wifi-*")))
def test_drivers_wait_for_ssh(layer: str) -> None:
    """What a layer brings in is what it keeps modprobe from loading before SSH is up."""
    wanted = tomllib.loads((LAYERS / layer / "layer.toml").read_text())["kernel"]["modules"]
    (late,) = (LAYERS / layer / "rootfs/etc/modprobe.d").glob("late-*.conf")
    named = [line.split()[1] for line in late.read_text().splitlines() if line.startswith("blacklist")]
    assert named == [name for name in wanted if not name.startswith("?")]
