"""Power goes at random moments, again and again: SSH always comes back, and no container is corrupt.

QEMU is killed, so what the guest wrote to its disk is there and nothing else; a disk that lies about its own
cache is not played here.
"""

from __future__ import annotations

import os
import random
import shlex
from collections.abc import Callable

import pytest

from tests.vm import disks
from tests.vm.containers import IMAGE, make_image, running
from tests.vm.driver import Device

MakeDevice = Callable[..., Device]

# In rounds: one while the engine writes, the others during the boots that follow, its start included.
CUTS = int(os.environ.get("SKIFF_CUTS", "20"))
ROUND = 5
SEED = int(os.environ.get("SKIFF_SEED", "1"))

# Writes numbers, one a line, each on the disk before the next.
WRITER = (
    f"docker run -d --name writer --network none --restart=always -v numbers:/data {IMAGE} sh -c "
    "'n=$(tail -n 1 /data/numbers); while :; do n=$((n + 1)); echo $n >>/data/numbers; sync; done'"
)

# Images and containers come and go: the engine's own files are being written when power goes.
CHURN = (
    "while :; do tar -C / -cf - usr/bin/busybox | docker import - churn;"
    f" docker run --rm --network none -v churn:/data {IMAGE} sh -c 'date >/data/now'; docker rmi churn; done"
)


@pytest.mark.timeout(60 * CUTS + 300)
def test_power_cuts_at_random_moments(device: MakeDevice) -> None:
    chance = random.Random(SEED)
    machine = device("virt/qemu", "engine/docker")
    boot = machine.boot()
    machine.wait_for_engine()
    make_image(machine)
    # An image that was just made is whole afterwards, or not there.
    _cut(machine, "right after an image was made")
    machine.boot()
    _wait_for_docker(machine)
    if not _is_whole_if_there(machine, IMAGE, "/bin/busybox"):
        make_image(machine)
    machine.succeed(f"docker run --rm --network none -v numbers:/data {IMAGE} sh -c 'echo 0 >/data/numbers'")
    machine.succeed(WRITER)
    last = _whole(machine, 0)
    for number in range(1, CUTS + 1):
        if number % ROUND == 1:
            machine.succeed(f"nohup sh -c {shlex.quote(CHURN)} >/dev/null 2>&1 </dev/null &")
            machine.hold_for(chance.uniform(0, 6))
            _cut(machine, f"number {number}, while the engine wrote")
        else:
            machine.start()
            machine.hold_for(chance.uniform(0, 3 * boot))
            _cut(machine, f"number {number}, during boot")
        if number % ROUND == 0 or number == CUTS:
            machine.boot()
            last = _whole(machine, last)
    assert machine.failed() == {}


def _cut(machine: Device, when: str) -> None:
    machine.cut_power()
    print(f"cut {when}, console so far:", *machine.console().splitlines()[-3:], sep="\n    ")
    assert disks.is_sound(machine.persist), f"the file system after the cut {when}"


def _wait_for_docker(machine: Device) -> None:
    machine.wait_until_succeeds("docker version", 180)


def _whole(machine: Device, last: int) -> int:
    """The container runs, what is listed is whole, and no number that was written is lost; the newest."""
    running(machine, "writer")
    inside = machine.succeed("docker exec writer sha256sum /bin/busybox").split()[0]
    assert inside == machine.succeed("sha256sum /usr/bin/busybox").split()[0]
    _is_whole_if_there(machine, "churn", "/usr/bin/busybox")
    volume = machine.succeed("docker volume inspect -f '{{.Mountpoint}}' numbers").strip()
    numbers = [int(line) for line in machine.succeed(f"cat {volume}/numbers").splitlines()]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert numbers[-1] >= last
    machine.wait_until_succeeds(f"test $(tail -n 1 {volume}/numbers) -gt {numbers[-1]}")
    # Seen once the one before it was on the disk.
    return numbers[-1] - 1


def _is_whole_if_there(machine: Device, image: str, program: str) -> bool:
    """Whether there is such an image; its program must be the device's own then."""
    if machine.execute(f"docker image inspect {image}").status != 0:
        return False
    words = f"docker run --rm --network none {image} {program} sha256sum {program}"
    inside = machine.succeed(words, timeout=120).split()[0]
    assert inside == machine.succeed("sha256sum /usr/bin/busybox").split()[0]
    return True
