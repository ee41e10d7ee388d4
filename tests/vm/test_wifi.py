"""Wi-Fi through the air of two simulated radios: an access point on one, the device on the other."""

from __future__ import annotations

from collections.abc import Callable

from tests.vm import disks
from tests.vm.driver import Device

MakeDevice = Callable[..., Device]

# The kernel's simulated radios come with a layer that only tests have.
LAYERS = ("virt/qemu", "sim/wifi", "--layers-dir", "tests/vm/layers")
WIFI = "/mnt/persist/skiff/wifi"
GOOD = "ssid=home\npassword=correct horse\ncountry=DE\n"


def put(machine: Device, name: str, text: str) -> None:
    """A file dropped into skiff/wifi/ while the device runs."""
    machine.succeed(f"cat >{WIFI}/{name}.new && mv {WIFI}/{name}.new {WIFI}/{name}", input=text.encode())


def test_a_wrong_password_is_told_and_every_kind_of_network_is_joined(device: MakeDevice) -> None:
    machine = device(*LAYERS)
    wrong = GOOD.replace("correct", "wrong")
    disks.partitioned(machine.persist, "persist", {"skiff/wifi/home.conf": wrong})
    machine.boot()
    machine.wait_for_unit("wifi", "network home not seen")
    # A wrong password has a line that says so, and the wire is as it was.
    machine.succeed("access-point wpa2 home 'correct horse'")
    unit = machine.wait_for_unit("wifi", "wrong password for home")
    assert unit.state == "fail"
    assert "skiff/wifi/" in unit.hint
    assert machine.units()["network eth0"].text == "10.0.2.15/24 (DHCP)"
    machine.wait_for_persist()

    # Corrected while it runs.
    put(machine, "home.conf", GOOD)
    assert "dBm, 10.55.0." in machine.wait_for_unit("wifi", "home, .*10.55.0.").text
    assert machine.units()["network wlan0"].state == "ok"
    machine.succeed("ping -c 1 -W 5 -I wlan0 10.55.0.1")
    # The cable stays the first choice, and nobody else reads the password.
    defaults = machine.succeed("ip route show default").splitlines()
    assert "eth0" in defaults[0]
    assert "wlan0" in defaults[1]
    assert "eth0" in machine.succeed("ip route get 1.1.1.1")
    assert "metric 1" in machine.succeed("ip route show dev wlan0 | grep ^10.55.0.0/24")
    assert machine.succeed("ls -l /run/skiff/seen/wifi/home.conf").startswith("-rw-------")
    assert machine.succeed("ls -l /run/skiff/wifi/conf").startswith("-rw-------")
    assert "country DE" in machine.succeed("iw reg get")

    # A bad file is told, and the good one goes on.
    put(machine, "cellar.conf", "ssid=cellar\npassword=short\n")
    unit = machine.wait_for_unit("wifi-files", "cellar.conf, password: 5 characters")
    assert "8 to 63" in unit.hint
    assert "home, " in machine.units()["wifi"].text
    machine.succeed(f"rm {WIFI}/cellar.conf")
    machine.wait_until_succeeds("! test -e /run/skiff/status/wifi-files")

    # The access point goes and comes back as another: WPA3 alone.
    machine.succeed("access-point off")
    machine.wait_until_succeeds("! ip addr show wlan0 | grep -q 10.55.0")
    machine.succeed("access-point wpa3 home 'correct horse'")
    machine.wait_for_unit("wifi", "home, .*10.55.0.")
    assert "key_mgmt=SAE" in machine.succeed("wpa_cli -i wlan0 status")
    put(machine, "home.conf", wrong)
    machine.wait_for_unit("wifi", "wrong password for home")

    # Two networks, one of them hidden; and an open one.
    put(machine, "attic.conf", 'ssid="attic"\r\npassword="secret attic"\r\nhidden=yes\r\n')
    machine.succeed("access-point hidden attic 'secret attic'")
    machine.wait_for_unit("wifi", "attic, .*10.55.0.")
    put(machine, "café.conf", "ssid=café\nsecurity=open\n")
    machine.succeed("access-point open café")
    machine.wait_for_unit("wifi", "café, .*10.55.0.")
    machine.succeed("ping -c 1 -W 5 -I wlan0 10.55.0.1")
    assert machine.units()["network eth0"].state == "ok"
    assert set(machine.failed()) == set()

    # The card goes away and comes back.
    machine.succeed("iw dev wlan0 del")
    assert machine.wait_for_unit("wifi", "no wireless device").state == "fail"
    machine.succeed("iw phy phy0 interface add wlan0 type managed")
    machine.wait_for_unit("wifi", "café, .*10.55.0.")

    # Drivers that a layer marks as late are not loaded before the service is there.
    machine.succeed("mkdir -p /etc/modprobe.d && echo blacklist usb_storage >/etc/modprobe.d/late-test.conf")
    machine.succeed("modprobe -bq usb_storage")
    machine.fail("lsmod | grep ^usb_storage")
    machine.succeed("sv restart /etc/service/wifi")
    machine.wait_until_succeeds("! test -e /etc/modprobe.d/late-test.conf")
    machine.succeed("modprobe -b usb_storage; lsmod | grep ^usb_storage")
