"""Power goes at random moments of pushes and backups: every app runs its old release or its new one, whole.

As in test_power.py QEMU is killed: what the guest wrote to its disk is there and nothing else. SKIFF_CUTS=30
asks for so many; without it there is only the one in the middle of a push in test_crew.py.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.vm import disks
from tests.vm.apps import Repository, crew, is_whole, page
from tests.vm.driver import Device
from tests.vm.environments import BOX, enter

MakeDevice = Callable[..., Device]

CUTS = int(os.environ.get("SKIFF_CUTS", "0"))
SEED = int(os.environ.get("SKIFF_SEED", "1"))

DOCKERFILE = """FROM box
RUN mkdir /www && echo VERSION >/www/index.html
EXPOSE 8000
CMD ["httpd", "-f", "-p", "8000", "-h", "/www"]
"""
APPS = ("left", "right")


class App:
    """An app with the version that it ran last, and the one that a push under way would bring."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.repository = Repository(folder / name)
        self.runs = self.coming = 0

    def next(self) -> None:
        self.coming += 1
        self.repository.commit(Dockerfile=DOCKERFILE.replace("VERSION", str(self.coming)))

    def push(self, machine: Device) -> None:
        """A push that nothing disturbs."""
        self.next()
        status, shown = self.repository.push(machine, self.name)
        assert status == 0, shown
        self.is_whole(machine, f"after the push of {self.coming}")
        assert self.runs == self.coming

    def is_whole(self, machine: Device, when: str) -> None:
        """It serves the old version or the new one, by one container, and nothing half made is left."""
        served = int(page(machine, self.name))
        print(f"{self.name}, {when}: {served} of {self.runs}, {self.coming}")
        assert served in (self.runs, self.coming), when
        self.runs = served
        is_whole(machine, self.name)


@pytest.mark.skipif(not CUTS, reason="SKIFF_CUTS says how many")
@pytest.mark.timeout(150 * CUTS + 600)
def test_power_cuts_of_pushes_and_backups(device: MakeDevice, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    machine = device("virt/qemu", "engine/docker", "apps/crew")
    machine.start(memory=1024)
    boot = machine.wait_for_ssh()
    machine.wait_for_engine()
    machine.succeed(BOX, timeout=180)
    apps = [App(name, tmp_path) for name in APPS]
    for app in apps:
        app.push(machine)
    before = time.monotonic()
    apps[0].push(machine)
    # Of all moments a bit after a push's end too: the old release is being retired then.
    span = 1.3 * (time.monotonic() - before)
    for number in range(1, CUTS + 1):
        app = chance.choice(apps)
        if chance.random() < 0.8:
            what = f"a push to {app.name}"
            app.next()
            push = app.repository.start_push(machine, app.name)
            machine.hold_for(chance.uniform(0, span))
            machine.cut_power()
            push.break_off()
        else:
            what = "a backup"
            words = enter(machine, "backup:export", user="crew")
            saving = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            machine.hold_for(chance.uniform(0, span / 3))
            machine.cut_power()
            saving.kill()
            saving.wait()
        assert disks.is_sound(machine.persist), f"the file system after cut {number}"
        if chance.random() < 0.25:
            machine.start()
            machine.hold_for(chance.uniform(boot, 4 * boot))
            machine.cut_power()
            what += ", and then during boot"
        machine.boot()
        machine.wait_for_unit("crew", "2 apps run", 300)
        for each in apps:
            each.is_whole(machine, f"after cut {number} of {what}")
    # What was broken off is in nobody's way.
    for app in apps:
        app.push(machine)
    assert crew(machine, "apps:list").stdout.split() == list(APPS)
    assert machine.failed() == {}
