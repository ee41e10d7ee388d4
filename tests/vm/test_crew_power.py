"""Power goes in every phase of pushes and backups: each app runs its old release or its new one, whole.

As in test_power.py QEMU is killed: what the guest wrote to its disk is there and nothing else. SKIFF_CUTS=30
asks for so many, which take an hour; without it there is the one in the middle of a push of test_crew.py.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from skiff.host.run import run
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
CREW = "/mnt/persist/skiff/crew"
APPS = ("left", "right")
# An app that is destroyed and taken in from its backup.
SAVED = "saved"
# The moments of each have their turn; where in them the power goes is chance.
PHASES = ("push", "build", "switch", "retire", "export", "import")


class App:
    """An app with the version that it ran last, and the one that a push under way would bring."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.repository = Repository(folder / name)
        self.runs = self.coming = 0

    def next(self) -> None:
        self.coming += 1
        self.repository.commit(Dockerfile=DOCKERFILE.replace("VERSION", str(self.coming)))

    def push(self, machine: Device) -> dict[str, float]:
        """A push that nothing disturbs; how long each of its phases took, in seconds."""
        self.next()
        times = [time.monotonic()]
        push = self.repository.start_push(machine, self.name)
        for words in ("building", "deploying"):
            push.wait_for(f"{words} {self.name}")
            times.append(time.monotonic())
        status, shown = push.end()
        assert status == 0, shown
        times.append(time.monotonic())
        self.runs = self.coming
        self.is_whole(machine)
        times.append(time.monotonic())
        return {phase: times[at + 1] - times[at] for at, phase in enumerate(PHASES[:4])}

    def cut(self, machine: Device, phase: str, moment: float) -> None:
        """A push during which the power goes, that long after a phase began."""
        self.next()
        push = self.repository.start_push(machine, self.name)
        if phase == "retire":
            status, shown = push.end()
            assert status == 0, shown
            # Who was told that it serves finds it so, whatever comes.
            self.runs = self.coming
            machine.hold_for(moment)
            machine.cut_power()
            return
        if phase != "push":
            push.wait_for(f"{'building' if phase == 'build' else 'deploying'} {self.name}")
        machine.hold_for(moment)
        machine.cut_power()
        push.break_off()

    def is_whole(self, machine: Device) -> None:
        """It serves the old version or the new one, by one container, and nothing half made is left."""
        served = int(page(machine, self.name))
        assert served in (self.runs, self.coming), f"{served} of {self.runs}, {self.coming}"
        self.runs = served
        is_whole(machine, self.name)


class Backups:
    """Backups of the apps, and an app that comes back from its own."""

    def __init__(self, machine: Device, folder: Path) -> None:
        self.machine = machine
        self.file = folder / "backup"
        crew(machine, f"apps:create {SAVED}")
        crew(machine, f"storage:mount {SAVED} {SAVED}:/data")
        App(SAVED, folder).push(machine)
        crew(machine, f"run {SAVED} sh -c 'echo kept >/data/kept; chown 1000 /data/kept'")
        words = enter(machine, f"backup:export {SAVED}", user="crew")
        self.file.write_bytes(run(words, input=b"", timeout=240).stdout)

    def start(self, phase: str) -> subprocess.Popen[bytes]:
        """An export of all apps, or an import of the one, which is removed before."""
        if phase == "export":
            words = enter(self.machine, "backup:export", user="crew")
            return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        if SAVED in self.apps():
            crew(self.machine, f"apps:destroy --force {SAVED}")
        self.machine.succeed(f"rm -rf {CREW}/storage/{SAVED}")
        with self.file.open("rb") as file:
            return subprocess.Popen(
                enter(self.machine, "backup:import", user="crew"), stdin=file, stdout=subprocess.DEVNULL
            )

    def time(self, phase: str) -> float:
        """How long it takes when nothing disturbs it, in seconds."""
        under_way = self.start(phase)
        before = time.monotonic()
        assert under_way.wait(240) == 0
        took = time.monotonic() - before
        self.is_whole()
        return took

    def cut(self, phase: str, moment: float) -> None:
        """One during which the power goes."""
        under_way = self.start(phase)
        self.machine.hold_for(moment)
        self.machine.cut_power()
        under_way.kill()
        under_way.wait()

    def apps(self) -> list[str]:
        """Names of all apps."""
        return crew(self.machine, "apps:list").stdout.split()

    def is_whole(self) -> None:
        """The app is there with its files, or nothing of it is."""
        assert self.machine.succeed(f"find {CREW} -name 'import.*' -o -name '.import.*'") == ""
        if SAVED in self.apps():
            assert page(self.machine, SAVED) == "1\n"
            assert self.machine.succeed(f"cat {CREW}/storage/{SAVED}/kept") == "kept\n"
            is_whole(self.machine, SAVED)
        else:
            there = f"docker ps -aq --filter label=crew.app={SAVED}"
            assert self.machine.succeed(f"{there}; ls {CREW}/apps").split() == list(APPS)


@pytest.mark.skipif(not CUTS, reason="SKIFF_CUTS says how many")
@pytest.mark.timeout(180 * CUTS + 900)
def test_power_cuts_of_pushes_and_backups(device: MakeDevice, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    machine = device("virt/qemu", "engine/docker", "apps/crew")
    machine.start(memory=1024)
    boot = machine.wait_for_ssh()
    machine.wait_for_engine_to_answer()
    machine.succeed(BOX, timeout=180)
    apps = [App(name, tmp_path) for name in APPS]
    for app in apps:
        app.push(machine)
    backups = Backups(machine, tmp_path)
    spans = apps[0].push(machine) | {phase: backups.time(phase) for phase in PHASES[4:]}
    print({phase: round(span, 1) for phase, span in spans.items()}, flush=True)
    for number in range(1, CUTS + 1):
        phase = PHASES[number % len(PHASES)]
        moment = chance.uniform(0, spans[phase])
        if phase in ("export", "import"):
            backups.cut(phase, moment)
        else:
            chance.choice(apps).cut(machine, phase, moment)
        assert disks.is_sound(machine.persist), f"the file system after cut {number}"
        again = chance.random() < 0.2
        if again:
            machine.start()
            machine.hold_for(chance.uniform(boot, 4 * boot))
            machine.cut_power()
        machine.boot()
        machine.wait_for_unit("crew", "[23] apps run", 300)
        for app in apps:
            app.is_whole(machine)
        backups.is_whole()
        also = ", then during boot" if again else ""
        run_now = ", ".join(f"{app.name} {app.runs}" for app in apps)
        print(f"cut {number} of {CUTS}: {phase} at {moment:.1f} s{also}: {run_now}", flush=True)
    # What was broken off is in nobody's way.
    for app in apps:
        app.push(machine)
    backups.time("import")
    assert backups.apps() == [*APPS, SAVED]
    assert machine.failed() == {}
