"""SSH that does not answer any more: the guard goes further step by step until it does."""

from __future__ import annotations

from collections.abc import Callable

from tests.vm.driver import Device

MakeDevice = Callable[..., Device]

MASTER = "$(cat /etc/service/ssh/supervise/pid)"


def test_ssh_is_brought_back(from_disk: MakeDevice) -> None:
    machine = from_disk("pc/uefi")
    machine.start(append=("skiff.guard=2",))
    machine.wait_for_ssh()
    machine.wait_for_persist()
    # Memory that runs out takes whoever takes it.
    before = machine.succeed(f"echo {MASTER}")
    assert "killed" in machine.succeed("tail /dev/zero || echo killed", timeout=180)
    assert machine.succeed(f"echo {MASTER}") == before
    # A server that hangs: it still has the connection over which this is seen.
    machine.succeed(f"kill -STOP {MASTER}")
    assert machine.wait_for_unit("guard", "restarted", 120).state == "warn"
    machine.wait_for_ssh()
    # Settings that keep it from starting.
    machine.succeed(f"printf '#!/bin/sh\\nexec sleep 1000\\n' >/etc/service/ssh/run; kill {MASTER}")
    machine.wait_for_unit("guard", "own settings", 180)
    machine.wait_for_ssh()
    # Something that no restart helps against, nor the image's own files: only a start anew does.
    boot = machine.boot_id()
    machine.succeed(
        "mkdir -p /mnt/persist/skiff/overlay/etc; echo mine >/mnt/persist/skiff/overlay/etc/mine; sync;"
        " cp /etc/service/ssh/run /run/deaf; printf '#!/bin/sh\\nexec sleep 1000\\n' >/run/deaf;"
        f" mount --bind /run/deaf /usr/sbin/dropbear; kill {MASTER}"
    )
    machine.wait_for_restart(boot, 240)
    assert "safe start" in machine.units()["safe"].text
    machine.fail("test -e /etc/mine -o -e /run/skiff/persist")
    boot = machine.boot_id()
    machine.execute("reboot")
    machine.wait_for_restart(boot, 120)
    machine.wait_for_persist()
    assert machine.succeed("cat /etc/mine") == "mine\n"
    assert "safe" not in machine.units()


def test_a_disk_that_hangs_keeps_it_from_no_restart(from_disk: MakeDevice) -> None:
    machine = from_disk("pc/uefi")
    machine.start(append=("skiff.guard=2",))
    machine.wait_for_ssh()
    machine.wait_for_persist()
    machine.wait_for_unit("slot", "a")
    boot = machine.boot_id()
    machine.succeed(
        "printf '#!/bin/sh\\nexec sleep 1000\\n' >/run/deaf; chmod +x /run/deaf;"
        f" mount --bind /run/deaf /usr/sbin/dropbear; echo unwritten >/mnt/persist/note; kill {MASTER}"
    )
    machine.hang_disk("card", hang=True)
    # It has asked for a safe start, which waits for that disk; so do those who put persist away.
    machine.wait_for_console("the disk does not answer: restarting without it", 400)
    # Firmware has no limits.
    machine.hang_disk("card", hang=False)
    machine.wait_for_restart(boot, 240)
