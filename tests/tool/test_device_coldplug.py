"""Drivers by modalias: what boot asks modprobe for before SSH, and what is left for later."""

from __future__ import annotations

import pytest

from tests.tool.device import Device

# Prints what modprobe is asked for, a line each time. A controller's driver brings the disk behind it.
COLDPLUG = """
. "$LIB/coldplug.sh"
modprobe() {
	echo "$*"
	mkdir -p "$SYS/bus/virtio/devices/virtio0"
	echo virtio:d2v1AF4 >"$SYS/bus/virtio/devices/virtio0/modalias"
}
"""
CARD = "pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00"
SOUND = "pci:v00008086d00002668sv00001AF4sd00001100bc04sc03i00"
CLOCK = "of:NrtcT(null)Carm,pl031"


def _plug(device: Device, bus: str, name: str, alias: str) -> None:
    device.put(f"sys/bus/{bus}/devices/{name}/modalias", alias + "\n")


def test_cards_and_disks_come_first_and_the_rest_later_and_each_once(device: Device) -> None:
    _plug(device, "pci", "0000:00:01.0", CARD)
    _plug(device, "pci", "0000:00:02.0", CARD)
    _plug(device, "pci", "0000:00:03.0", SOUND)
    device.put("etc/skiff/modules", "")
    said = device.says(
        f'{COLDPLUG}coldplug_first; echo late; coldplug_rest; case $- in *f*) echo "no globs" ;; esac'
    )
    assert said.split("\n") == [f"-abq {CARD}", "-abq virtio:d2v1AF4", "late", f"-abq {SOUND}"]


def test_what_was_looked_at_is_not_read_again(device: Device) -> None:
    _plug(device, "pci", "0000:00:01.0", SOUND.replace("bc04", "bc02"))
    script = """. "$LIB/coldplug.sh"
cat() { echo read >>"$ROOT/done"; command cat "$@"; }
modprobe() { echo asked >>"$ROOT/done"; }
coldplug_first"""
    assert device.sh(script).returncode == 0
    assert device.read("done").splitlines() == ["read", "asked"]


def test_disks_are_loaded_beside_cards_which_keep_their_order(device: Device) -> None:
    (device.root / "proc/device-tree").mkdir()
    _plug(device, "platform", "a000000.virtio_mmio", "of:Nvirtio_mmioT(null)Cvirtio,mmio")
    kinds = {"virtio0": 4, "virtio1": 1, "virtio2": 2, "virtio3": 1}
    for name, kind in kinds.items():
        _plug(device, "virtio", name, f"virtio:d{kind:08X}v{name}")
    # Each waits for the other: one after the other they would not get on.
    script = """. "$LIB/coldplug.sh"
mkfifo "$ROOT/there" "$ROOT/back"
modprobe() {
	case $* in
	*d00000002*) echo >"$ROOT/there"; read -r _ <"$ROOT/back" ;;
	*) read -r _ <"$ROOT/there"; echo >"$ROOT/back" ;;
	esac
	echo "$*" >>"$ROOT/asked"
}
coldplug_first"""
    assert device.sh(script).returncode == 0
    assert sorted(device.read("asked").splitlines()) == [
        "-abq virtio:d00000001vvirtio1 virtio:d00000001vvirtio3",
        "-abq virtio:d00000004vvirtio0 virtio:d00000002vvirtio2 of:Nvirtio_mmioT(null)Cvirtio,mmio",
    ]


def test_a_board_has_its_controllers_on_the_platform_bus_and_a_computer_a_hundred_others(
    device: Device,
) -> None:
    _plug(device, "platform", "9010000.pl031", CLOCK)
    assert device.says(f"{COLDPLUG}coldplug_first") == ""
    (device.root / "proc/device-tree").mkdir()
    assert device.says(f"{COLDPLUG}coldplug_first").split("\n")[0] == f"-abq {CLOCK}"


def test_an_alias_is_never_a_glob(device: Device) -> None:
    _plug(device, "usb", "1-1", "*")
    _plug(device, "usb", "1-2", "usb:v0BDAp8153[a]")
    assert device.says(f"{COLDPLUG}coldplug_first") == ""


def test_a_kernel_with_nearly_all_drivers_built_in_is_asked_for_the_others_alone(device: Device) -> None:
    _plug(device, "pci", "0000:00:01.0", CARD)
    _plug(device, "virtio", "virtio5", "virtio:d00000004v00001AF4")
    device.put("etc/skiff/modules", "")
    device.put("proc/sys/kernel/osrelease", "6.12.0\n")

    def asked(*patterns: str) -> list[str]:
        lines = ["# Aliases extracted from modules themselves.", *(f"alias {one} some" for one in patterns)]
        device.put("lib/modules/6.12.0/modules.alias", "\n".join(lines) + "\n")
        return device.says(f"{COLDPLUG}coldplug_first").split("\n")

    assert asked() == [""]
    assert asked("virtio:d00000002v*") == [""]
    assert asked("fs-ext4", "pci:v00001AF4d*bc01*") == [f"-abq {CARD}"]
    # So many that asking modprobe is faster.
    assert len(asked(*["fs-ext4"] * 9)) > 1


@pytest.mark.parametrize(("hangs", "kind"), [("bc01", "disks"), ("bc02", "others")])
def test_a_driver_that_hangs_is_waited_for_once_and_kept_from_what_comes_later(
    device: Device, hangs: str, kind: str
) -> None:
    network = CARD.replace("1001", "1000").replace("bc01", "bc02")
    _plug(device, "pci", "0000:00:01.0", CARD)
    _plug(device, "pci", "0000:00:02.0", network)
    device.put("etc/skiff/modules", "")
    # What is loaded brings one more of the kind that hangs.
    more = CARD.replace("1001", "1009").replace("bc01", hangs)
    script = f"""
. "$LIB/coldplug.sh"
DRIVERS_LIMIT=1
say() {{ echo "said $*"; }}
modprobe() {{
	case $* in
	*{hangs}*) read -r _ <&4 ;;
	*)
		echo "$*"
		mkdir -p "$SYS/bus/pci/devices/0000:00:03.0"
		echo {more} >"$SYS/bus/pci/devices/0000:00:03.0/modalias"
		;;
	esac
}}
# Open all along: a line that is written while nobody has the FIFO open is lost.
mkfifo "$RUN/hangs"
exec 4<>"$RUN/hangs"
coldplug_first
echo late
coldplug_rest
for _ in 1 2; do echo >&4; done
"""
    assert device.says(script).split("\n") == [
        f"-abq {network if kind == 'disks' else CARD}",
        f"said drivers of {kind} are not done within 1 seconds: started without them",
        "late",
    ]
