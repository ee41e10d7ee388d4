"""Updates: sent, tried, confirmed; and each kind of bad one ends with the slot that ran before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from skiff.host.errors import UserError
from skiff.host.run import run
from skiff.host.ui import Ui
from skiff.machine.push import Wish, push, rollback
from tests.vm.conftest import Images
from tests.vm.driver import Device
from tests.vm.updates import boot_and_keep_key, damage, remote, running, slot_of, with_words

MakeDevice = Callable[..., Device]

LAYERS = str(Path(__file__).parent / "layers")
UI = Ui(quiet=True)


@pytest.mark.timeout(900)
def test_good_and_bad_updates_with_uefi(from_disk: MakeDevice, images: Images, tmp_path: Path) -> None:
    machine = from_disk("pc/uefi", "update/signed")
    boot_and_keep_key(machine)
    image = images.build("pc/uefi", "update/signed", "test/next", "--layers-dir", LAYERS)
    key = tmp_path / "signer"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])
    slot = slot_of(image, tmp_path / "slot", images.cache)
    # It takes what its signer signed, and nothing else.
    machine.copy_to(key.with_name("signer.pub"), "/tmp/signer")
    machine.succeed("{ printf 'me '; cat /tmp/signer; } >/etc/skiff/signers")
    with pytest.raises(UserError, match="signed images only"):
        push(remote(machine), slot, wish(), UI)
    signed = slot_of(image, tmp_path / "signed", images.cache, key)
    done = push(remote(machine), signed, wish(), UI)
    assert (done.slot, running(machine)) == ("b", "b")
    assert machine.succeed("cat /etc/next") == "next\n"
    assert 0 < done.sent <= 0.15 * done.bytes
    assert machine.wait_for_unit("slot", "confirmed").state == "ok"
    # One that panics at once is started once, then the one before.
    with pytest.raises(UserError, match="runs slot b again: a did not start"):
        push(remote(machine), with_words(slot, tmp_path / "panics", "rdinit=/nothing"), wish(tries=1), UI)
    assert running(machine) == "b"
    assert "did not start" in machine.wait_for_unit("slot", "did not start", 180).text
    # One that nobody can reach goes back by itself.
    deaf = with_words(slot, tmp_path / "deaf", "initcall_blacklist=virtio_net_driver_init")
    with pytest.raises(UserError, match="runs slot b again"):
        push(remote(machine), deaf, wish(tries=3, confirm_within=10), UI)
    assert running(machine) == "b"
    # One that the owner's own check finds wrong is taken back.
    check = "#!/bin/sh\\necho the pump is off\\n! grep -q skiff.slot=a /proc/cmdline\\n"
    machine.wait_for_persist()
    machine.succeed(
        f"cd /mnt/persist/skiff; mkdir checks; printf '{check}' >checks/pump; chmod +x checks/pump; sync"
    )
    with pytest.raises(UserError, match=r"the pump is off; .* runs slot b again"):
        push(remote(machine), slot, wish(), UI)
    assert running(machine) == "b"
    machine.wait_for_persist()
    machine.succeed("rm /mnt/persist/skiff/checks/pump")
    assert rollback(remote(machine), wish(), UI).slot == "a"
    assert running(machine) == "a"
    assert machine.failed() == {}
    # What was good is damaged later.
    damage(machine, "a")
    machine.cut_power()
    machine.boot(180)
    assert running(machine) == "b"
    assert machine.wait_for_unit("slot", "did not start", 180).state == "warn"


@pytest.mark.timeout(600)
def test_one_whose_engine_does_not_start_goes_back(
    from_disk: MakeDevice, images: Images, tmp_path: Path
) -> None:
    machine = from_disk("pc/uefi", "engine/docker")
    boot_and_keep_key(machine)
    machine.wait_for_engine()
    slot = slot_of(machine.image, tmp_path / "slot", images.cache)
    # dockerd ends when it cannot make its network.
    broken = with_words(slot, tmp_path / "broken", "module_blacklist=bridge")
    with pytest.raises(UserError, match=r"not as well as before: engine: .* runs slot a again"):
        push(remote(machine), broken, wish(confirm_within=80), UI)
    assert running(machine) == "a"
    machine.wait_for_engine()


@pytest.mark.timeout(900)
def test_one_that_does_not_find_its_disk_goes_back(
    from_disk: MakeDevice, images: Images, tmp_path: Path
) -> None:
    machine = from_disk("pc/uefi")
    boot_and_keep_key(machine)
    slot = slot_of(machine.image, tmp_path / "slot", images.cache)
    blind = with_words(slot, tmp_path / "blind", "module_blacklist=virtio_blk")
    with pytest.raises(UserError, match=r"no boot partition was found .*; slot b is not confirmed"):
        push(remote(machine), blind, wish(tries=1), UI)
    assert running(machine) == "b"
    # Only systemd-boot told of its trial.
    machine.wait_for_restart(machine.boot_id(), 500)
    assert running(machine) == "a"
    assert machine.wait_for_unit("slot", "did not start", 180).state == "warn"


@pytest.mark.timeout(600)
def test_u_boot_leaves_a_good_slot_that_is_damaged_later(
    from_disk: MakeDevice, images: Images, tmp_path: Path
) -> None:
    words = ("virt/qemu", "--arch", "arm64")
    machine = from_disk(*words)
    boot_and_keep_key(machine)
    image = images.build(*words, "test/next", "--layers-dir", LAYERS)
    done = push(remote(machine), slot_of(image, tmp_path / "slot", images.cache), wish(), UI)
    assert (done.slot, running(machine)) == ("b", "b")
    assert state(machine) == b"SKIFFST1b\x05g"
    # U-Boot, not a hand, starts the other one.
    damage(machine, "b")
    machine.cut_power()
    machine.boot(180)
    assert "Skiff: damaged: initramfs" in machine.console()
    assert running(machine) == "a"
    assert "did not start" in machine.wait_for_unit("slot", "did not start", 180).text
    machine.wait_until_succeeds("dd if=/dev/vda1 bs=512 skip=16 count=1 | grep -q SKIFFST1a", 180)
    with pytest.raises(UserError, match="not whole"):
        rollback(remote(machine), wish(), UI)


def wish(tries: int = 3, confirm_within: int = 300) -> Wish:
    """An update as always, but a machine that hangs is given up sooner than a device in the field.

    What it runs already is sent all the same.
    """
    return Wish(tries, confirm_within, patience=300, again=True)


def state(machine: Device) -> bytes:
    """What U-Boot remembers of the slots."""
    text = machine.succeed("dd if=/dev/vda1 bs=512 skip=16 count=1 2>/dev/null | head -c 11 | xxd -p")
    return bytes.fromhex(text.strip())
