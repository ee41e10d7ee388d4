"""What changes on persist while the device runs is taken over, however soon after the last look."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.tool.device import Device

LOOK = '. "$LIB/live.sh"\nlive_take() { echo taken; live_look; LAST_SEEN=$NOW_SEEN; }\n'


@pytest.fixture
def device(tmp_path: Path) -> Device:
    made = Device(tmp_path / "machine")
    made.put("mnt/persist/skiff/network/eth0.conf", "ADDRESS=10.0.0.1/24\n")
    return made


def looks(device: Device, between: str) -> list[str]:
    """Look twice and do something between; what was taken over each time."""
    done = device.sh(f"{LOOK}live_changes\necho then\n{between}\nlive_changes")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.split("then\n")
    assert first == "taken\n"
    return second.split()


def test_nothing_changed(device: Device) -> None:
    assert looks(device, "true") == []


def test_a_change_within_the_second_of_the_last_look(device: Device) -> None:
    path = device.root / "mnt/persist/skiff/network/eth0.conf"
    then = path.stat().st_mtime
    os.utime(path, (then, then))
    same_second = f"echo ADDRESS=10.0.0.2/24 >{path}; touch -d @{int(then)} {path}"
    assert looks(device, same_second) == ["taken"]


def test_a_change_after_the_clock_was_put_back(device: Device) -> None:
    path = device.root / "mnt/persist/skiff/network/eth0.conf"
    assert looks(device, f"echo ADDRESS=10.0.0.3/24 >{path}; touch -d 2001-01-01 {path}") == ["taken"]


def test_a_file_that_comes_and_one_that_goes(device: Device) -> None:
    folder = device.root / "mnt/persist/skiff/keys"
    assert looks(device, f"mkdir {folder}; echo x >{folder}/a.pub") == ["taken"]
    assert looks(device, f"rm {folder}/a.pub") == ["taken"]


TAKE = """. "$LIB/persist-check.sh"; . "$LIB/live.sh"
sv() { :; }
live_machine_id() { :; }
live_host_key() { :; }
live_take
"""
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI me\n"


@pytest.fixture
def told(device: Device) -> Device:
    """A device that has taken over what its persist says."""
    device.put("mnt/persist/skiff/keys/me.pub", KEY)
    device.put("run/skiff/persist.errors", "0\n")
    device.put("sys/fs/ext4/vda1/errors_count", "0\n")
    device.put("proc/mounts", "")
    assert device.sh(f"PERSIST_DEV=vda1\n{TAKE}").returncode == 0
    assert device.read("root/.ssh/authorized_keys") == KEY
    (device.root / "run/skiff/net/settings").unlink()
    return device


@pytest.mark.parametrize(
    "damage",
    [
        # A file whose content cannot be read.
        'tar() { case $1 in -cf) command tar "$@"; return 1 ;; esac; command tar "$@"; }',
        # Folders that cannot be listed.
        'rm -r "$PERSIST"/skiff/*/*; ls() { return 1; }',
        # A folder of which the kernel says nothing but that it counted an error.
        'rm -r "$PERSIST/skiff/keys" "$PERSIST/skiff/network"; echo 1 >"$SYS/fs/ext4/vda1/errors_count"',
        # No room in RAM.
        'tar() { case $1 in -xof) return 1 ;; esac; command tar "$@"; }',
    ],
)
def test_what_cannot_be_read_takes_nothing_away(told: Device, damage: str) -> None:
    assert told.sh(f"PERSIST_DEV=vda1\n{damage}\n{TAKE}").returncode == 0
    assert told.read("root/.ssh/authorized_keys") == KEY
    assert told.read("run/skiff/seen/network/eth0.conf")
    assert not (told.root / "run/skiff/net/settings").exists()
    assert told.status("settings")[0] == "warn"
    # What can be read again is taken over, and the warning goes.
    told.put("mnt/persist/skiff/keys/me.pub", f"{KEY}{KEY.replace('me', 'you')}")
    told.put("sys/fs/ext4/vda1/errors_count", "0\n")
    assert told.sh(f"PERSIST_DEV=vda1\n{TAKE}").returncode == 0
    assert "you" in told.read("root/.ssh/authorized_keys")
    assert not (told.root / "run/skiff/status/settings").exists()


def test_nobody_else_reads_the_copy(told: Device) -> None:
    script = (
        f'PERSIST_DEV=vda1\ntar() {{ stat -c %a "$RUN/seen.tar" >>"$ROOT/modes"; command tar "$@"; }}\n{TAKE}'
    )
    assert told.sh(script).returncode == 0
    assert set(told.read("modes").split()) == {"600"}
    assert not (told.root / "run/skiff/seen.tar").exists()


@pytest.mark.parametrize("folder", ["ssh", "network", "keys", "wifi"])
def test_more_than_a_megabyte_keeps_nobody_out(told: Device, folder: str) -> None:
    told.put(f"mnt/persist/skiff/{folder}/large.conf", bytes(2 << 20))
    told.put(f"mnt/persist/skiff/{folder}/large.pub", bytes(2 << 20))
    assert told.sh(f"PERSIST_DEV=vda1\n{TAKE}").returncode == 0
    assert told.read("root/.ssh/authorized_keys") == KEY
    assert told.status("settings")[:2] == [
        "warn",
        "more than 1 MB in skiff/ssh, network, keys and wifi: what was said before goes on to count",
    ]


@pytest.mark.parametrize("name", ["network/backup.tar", "keys/backup.tar"])
def test_what_is_no_setting_may_be_large(told: Device, name: str) -> None:
    told.put(f"mnt/persist/skiff/{name}", bytes(2 << 20))
    told.put("mnt/persist/skiff/keys/me.pub", KEY.replace("me", "you"))
    assert told.sh(f"PERSIST_DEV=vda1\n{TAKE}").returncode == 0
    assert "you" in told.read("root/.ssh/authorized_keys")
    assert not (told.root / "run/skiff/status/settings").exists()
    # Nor does it keep the next boot from its keys.
    early = (
        '. "$LIB/early.sh"\nrm -r "$SEEN"; mkdir "$SEEN"\n'
        'ln -s "$PERSIST" "$RUN/persist-early"\nearly_settings'
    )
    assert told.sh(early).returncode == 0
    assert "you" in told.read("run/skiff/seen/keys/me.pub")


def test_what_never_ends_keeps_nobody_waiting(told: Device) -> None:
    for name in ("network/eth1.conf", "ssh/dropbear_ed25519_host_key"):
        path = told.root / "mnt/persist/skiff" / name
        path.parent.mkdir(exist_ok=True)
        os.mkfifo(path)
    told.put("run/skiff/ssh/dropbear_ed25519_host_key", "mine")
    # Reads the key, as the program does.
    script = TAKE.replace("live_host_key() { :; }", 'dropbearkey() { cat "$3" >/dev/null; }')
    told.put("mnt/persist/skiff/network/eth0.conf", "ADDRESS=10.0.0.2/24\n")
    assert told.sh(f"PERSIST_DEV=vda1\n{script}").returncode == 0
    assert (told.root / "run/skiff/net/settings").exists()
    assert told.read("mnt/persist/skiff/ssh/dropbear_ed25519_host_key") == "mine"


def test_a_host_key_that_comes_late_replaces_the_one_of_ram_in_all_its_forms(device: Device) -> None:
    device.put("mnt/persist/skiff/ssh/dropbear_ed25519_host_key", "kept")
    for name in ("dropbear_ed25519_host_key", "ssh_host_ed25519_key"):
        device.put(f"run/skiff/ssh/{name}", "of RAM")
    done = device.sh('. "$LIB/live.sh"; dropbearkey() { :; }; sv() { :; }; live_host_key')
    assert done.returncode == 0, done.stderr
    # The service makes both anew of this one.
    assert list((device.root / "run/skiff/ssh").iterdir()) == []
    assert device.read("run/skiff/seen/ssh/dropbear_ed25519_host_key") == "kept"


HOST_KEY = "mnt/persist/skiff/ssh/dropbear_ed25519_host_key"


def kept(device: Device, **changes: str) -> Device:
    """A device that has kept its host key, after its files (`key`, `copy`, `sha256`) were changed."""
    device.put("run/skiff/ssh/dropbear_ed25519_host_key", "mine")
    (device.root / HOST_KEY).parent.mkdir(parents=True, exist_ok=True)
    assert look_at_key(device) == ""
    for name, text in changes.items():
        path = device.root / (HOST_KEY if name == "key" else f"{HOST_KEY}.{name}")
        # Disks that rot change no times.
        before = path.stat()
        path.write_text(text)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    # As the boot does it.
    device.put("run/skiff/ssh/dropbear_ed25519_host_key", device.read(HOST_KEY))
    device.put("run/skiff/seen/ssh/dropbear_ed25519_host_key", device.read(HOST_KEY))
    return device


def look_at_key(device: Device) -> str:
    """What the persist service does to the key; what it says of it."""
    stand_in = """
        dropbearkey() { case $1 in -t) echo made >"$4" ;; -y) [ -s "$3" ] ;; esac; }
        sv() { echo "$1" >>"$ROOT/sv"; }
    """
    done = device.sh(f'. "$LIB/live.sh"; {stand_in}\nlive_host_key')
    assert done.returncode == 0, done.stderr
    told = device.root / "run/skiff/status/hostkey"
    return told.read_text() if told.exists() else ""


def test_a_key_that_rotted_is_replaced_by_its_copy(device: Device) -> None:
    assert "its copy is in use" in look_at_key(kept(device, key="mime"))
    assert device.read(HOST_KEY) == "mine"
    assert device.read("run/skiff/seen/ssh/dropbear_ed25519_host_key") == "mine"
    # The service takes that one.
    assert not (device.root / "run/skiff/ssh/dropbear_ed25519_host_key").exists()
    assert device.read("sv") == "restart\n"


def test_a_key_that_is_cut_short_is_replaced_by_its_copy(device: Device) -> None:
    assert "its copy is in use" in look_at_key(kept(device, key="mi"))
    assert device.read(HOST_KEY) == "mine"


@pytest.mark.parametrize("emptied", ["by itself", "by somebody"])
def test_a_key_that_is_empty_is_replaced_by_its_copy(device: Device, emptied: str) -> None:
    kept(device, key="")
    if emptied == "by somebody":
        os.utime(device.root / HOST_KEY)
    # The boot found none that it could use.
    device.put("run/skiff/ssh/dropbear_ed25519_host_key", "made at boot")
    assert "its copy is in use" in look_at_key(device)
    assert device.read(HOST_KEY) == device.read(f"{HOST_KEY}.copy") == "mine"
    assert device.read("run/skiff/seen/ssh/dropbear_ed25519_host_key") == "mine"
    assert not (device.root / "run/skiff/ssh/dropbear_ed25519_host_key").exists()
    assert device.read("sv") == "restart\n"


def test_an_empty_key_with_a_copy_that_rotted_gives_way_to_the_one_made_at_boot(device: Device) -> None:
    kept(device, key="", copy="mimi")
    device.put("run/skiff/ssh/dropbear_ed25519_host_key", "made at boot")
    assert "a new one is in use" in look_at_key(device)
    assert device.read(HOST_KEY) == device.read(f"{HOST_KEY}.copy") == "made at boot"
    assert not (device.root / "sv").exists()


def test_a_key_and_a_copy_that_rotted_are_replaced_by_a_new_key(device: Device) -> None:
    assert "a new one is in use" in look_at_key(kept(device, key="mime", copy="mimi"))
    assert device.read(HOST_KEY) == device.read(f"{HOST_KEY}.copy") == "made\n"
    assert device.read("run/skiff/ssh/dropbear_ed25519_host_key") == "made\n"
    assert device.read("sv") == "restart\n"


@pytest.mark.parametrize("name", ["copy", "sha256"])
def test_a_copy_or_a_checksum_that_rotted_is_made_anew(device: Device, name: str) -> None:
    before = kept(device).read(f"{HOST_KEY}.{name}")
    assert look_at_key(kept(device, **{name: "x" * len(before)})) == ""
    assert device.read(HOST_KEY) == "mine"
    assert device.read(f"{HOST_KEY}.{name}") == before
    assert not (device.root / "sv").exists()


@pytest.mark.parametrize("name", ["copy", "sha256"])
def test_a_fifo_in_place_of_them_keeps_nobody_waiting(device: Device, name: str) -> None:
    path = kept(device).root / f"{HOST_KEY}.{name}"
    before = path.read_text()
    path.unlink()
    os.mkfifo(path)
    assert look_at_key(device) == ""
    assert path.is_file() and path.read_text() == before
    assert device.read(HOST_KEY) == "mine"


def test_a_key_that_somebody_put_there_is_taken(device: Device) -> None:
    kept(device)
    path = device.root / HOST_KEY
    later = path.with_name(f"{path.name}.sha256").stat().st_mtime_ns + 10**9
    path.write_text("yours")
    os.utime(path, ns=(later, later))
    assert look_at_key(device) == ""
    assert device.read(HOST_KEY) == device.read(f"{HOST_KEY}.copy") == "yours"
    assert device.read("run/skiff/seen/ssh/dropbear_ed25519_host_key") == "yours"
    # From now on it is looked after as any other.
    assert "its copy is in use" in look_at_key(kept(device, key="yourz"))
