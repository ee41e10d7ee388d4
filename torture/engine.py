"""Power cuts while the engine writes and while the device starts: SSH answers, and no container is corrupt.

QEMU is killed, so what the guest gave to its disk is there and nothing else; `torture.cache` plays a disk
that loses more.
"""

from __future__ import annotations

import shlex

from tests.vm import disks
from tests.vm.containers import IMAGE, make_image, running
from tests.vm.driver import Device, ProductFailure
from torture.course import Course
from torture.verdict import Blow

# In rounds: one cut while the engine writes, the others during the boots that follow, its start included.
_ROUND = 5
_OVERLAY = 300

# Below persist: what the writer writes.
NUMBERS = "skiff/docker/volumes/numbers/_data/numbers"
# Writes numbers, one a line, each on the disk before the next.
_WRITER = (
    f"docker run -d --name writer --network none --restart=always -v numbers:/data {IMAGE} sh -c "
    "'cd /data; n=$(tail -n 1 numbers); while :; do n=$((n + 1)); echo $n >>numbers; sync numbers; done'"
)

# Images and containers come and go: the engine's own files are being written when power goes.
_CHURN = (
    "while :; do tar -C / -cf - usr/bin/busybox | docker import - churn;"
    f" docker run --rm --network none -v churn:/data {IMAGE} sh -c 'date >/data/now'; docker rmi churn; done"
)


def furnish(machine: Device) -> float:
    """Start a machine for the first time, and have a container write on it and an overlay lie on it.

    How many seconds it took until SSH answered. Raises ProductFailure.
    """
    boot = machine.boot()
    machine.wait_for_engine_to_answer()
    machine.succeed(
        "mkdir -p /mnt/persist/skiff/overlay/etc/mine && cd /mnt/persist/skiff/overlay/etc/mine &&"
        f" for n in $(seq {_OVERLAY}); do echo $n >$n; done; sync"
    )
    make_image(machine)
    # An image that was just made is whole afterwards, or not there.
    machine.cut_power()
    machine.boot()
    machine.wait_for_engine_to_answer(180)
    if not _is_whole_if_there(machine, IMAGE, "/bin/busybox"):
        make_image(machine)
    machine.succeed(f"docker run --rm --network none -v numbers:/data {IMAGE} sh -c 'echo 0 >/data/numbers'")
    machine.succeed(_WRITER)
    return boot


def churn(machine: Device) -> None:
    """Let the engine's own files be written from now on."""
    machine.succeed(f"nohup sh -c {shlex.quote(_CHURN)} >/dev/null 2>&1 </dev/null &")


def cut_writes(machine: Device, boot: float, course: Course) -> None:
    """Pull the plug of a furnished machine that runs, in rounds. ``boot``: seconds that a start takes.

    What came of a round is noted when it has ended. The first cut that is not stood is the last: what is
    found afterwards may be of that one.
    """
    left = course.left
    last = whole(machine, 0) if left else 0
    for first in range(0, len(left), _ROUND):
        cuts: list[tuple[int, str]] = []
        problem = ""
        try:
            for number in left[first : first + _ROUND]:
                during_boot = bool(cuts)
                moment = course.chance(number).uniform(0, 3 * boot if during_boot else 6)
                what = f"cut {number}, {moment:.1f} s into {'a start' if during_boot else 'writing'}"
                cuts.append((number, what))
                _cut(machine, moment, during_boot)
            machine.boot()
            last = whole(machine, last)
            failed = machine.failed()
            assert not failed, f"skiff-status: {failed}"
        except AssertionError as failure:
            problem = str(failure).splitlines()[0]
        for number, what in cuts:
            course.note(number, Blow(what, problem if number == cuts[-1][0] else ""))
        if problem:
            break


def _cut(machine: Device, moment: float, during_boot: bool) -> None:
    if during_boot:
        machine.start()
    else:
        churn(machine)
    machine.hold_for(moment)
    machine.cut_power()
    if not disks.is_sound(machine.persist):
        raise ProductFailure("the file system is not sound")


def whole(machine: Device, last: int) -> int:
    """The container runs, what is listed is whole, and no number that was written is lost; the newest.

    Raises AssertionError, of which ProductFailure is one.
    """
    running(machine, "writer")
    inside = machine.succeed("docker exec writer sha256sum /bin/busybox").split()[0]
    assert inside == machine.succeed("sha256sum /usr/bin/busybox").split()[0], "the container's file changed"
    _is_whole_if_there(machine, "churn", "/usr/bin/busybox")
    volume = machine.succeed("docker volume inspect -f '{{.Mountpoint}}' numbers").strip()
    newest = newest_of(machine.succeed(f"cat {volume}/numbers"))
    assert newest >= last, f"{last} was written, and the newest number is {newest}"
    machine.wait_until_succeeds(f"test $(tail -n 1 {volume}/numbers) -gt {newest}")
    laid = machine.succeed("ls /etc/mine | wc -l; cat /etc/mine/7").split()
    assert laid == [str(_OVERLAY), "7"], "the overlay is not in force"
    # Seen once the one before it was on the disk.
    return newest - 1


def newest_of(text: str) -> int:
    """The last of the writer's numbers, of which none may be missing or twice. Raises AssertionError."""
    lines = text.splitlines()
    numbers = [int(line) for line in lines if line.isdecimal()]
    assert numbers and len(numbers) == len(lines), "among the numbers is something else"
    assert numbers == list(range(numbers[0], numbers[-1] + 1)), "the numbers have gaps"
    return numbers[-1]


def _is_whole_if_there(machine: Device, image: str, program: str) -> bool:
    """Whether there is such an image; its program must be the device's own then."""
    if machine.execute(f"docker image inspect {image}").status != 0:
        return False
    words = f"docker run --rm --network none {image} {program} sha256sum {program}"
    inside = machine.succeed(words, timeout=120).split()[0]
    assert inside == machine.succeed("sha256sum /usr/bin/busybox").split()[0], f"{image} is not whole"
    return True
