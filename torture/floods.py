"""Floods of memory, processes, files, log lines and connections: SSH lets newcomers in during each."""

from __future__ import annotations

import time
from contextlib import closing
from functools import partial

import msgspec

from skiff.host.run import CommandError, run
from skiff.machine import ssh
from tests.vm.containers import IMAGE, make_image
from tests.vm.driver import Device, HarnessError, ProductFailure
from tests.vm.link import Link
from tests.vm.strangers import Strangers
from torture.course import Course
from torture.verdict import Blow

# Seconds that a log-in may take. The emulated machines of a busy workstation are slow; what it took is told.
_PATIENCE = 120
# What ssh says when the server takes no more newcomers.
_HUNG_UP = (b"kex_exchange_identification: ", b"Connection reset by ", b"Connection closed by ")
_STRANGERS = 2000
_RUN = f"docker run -d --name flood --network none --log-opt max-size=1m {IMAGE}"
_STOP = "docker rm -f flood"


class Flood(msgspec.Struct, frozen=True):
    """What floods, how one sees that it does, and how it ends; each a shell command on the device."""

    name: str
    start: str
    under_way: str
    stop: str = _STOP


FLOODS = (
    Flood(
        "a container takes memory",
        f"{_RUN} sh -c 'tail /dev/zero; exec sleep 1000'",
        # The limit of all containers ended it, and not the kernel's choice among all processes.
        "grep -q '^oom [1-9]' /sys/fs/cgroup/docker/memory.events",
    ),
    Flood(
        "a container starts processes without end",
        f"{_RUN} sh -c 'bomb() {{ bomb | bomb & }}; bomb; exec sleep 1000'",
        "grep -q '^max [1-9]' /sys/fs/cgroup/docker/pids.events",
    ),
    Flood(
        "/tmp is full",
        "cat /dev/zero >/tmp/flood 2>/dev/null || true",
        "! echo more >/tmp/more",
        "rm -f /tmp/flood /tmp/more",
    ),
    Flood(
        "a container and a service log without end",
        f"{_RUN} sh -c 'while :; do echo over and over; done'; {{ yes | logger; }} >/dev/null 2>&1 &",
        "test -s /run/log/messages.1",
        f"killall yes; {_STOP}",
    ),
)


# All of these, strangers at the door, and a look afterwards.
CASES = len(FLOODS) + 2


def flood(machine: Device, course: Course) -> None:
    """Switch a machine with an engine on, and flood it. A Blow tells how long a log-in took."""
    with closing(Link()) as link:
        # The less containers may take, the sooner they have it.
        machine.start(memory=512, append=("skiff.guard=10", "skiff.reserve=900"), extra=link.card)
        machine.wait_for_ssh()
        machine.wait_for_engine_to_answer(300)
        make_image(machine)
        _attack(machine, link, course)


def _attack(machine: Device, link: Link, course: Course) -> None:
    # The first log-in of a machine loads what the later ones find loaded.
    _log_in(machine)
    idle = min(_log_in(machine) for _ in range(3))
    before = _kept(machine)
    attacks = [(each.name, partial(_flooded, machine, each)) for each in FLOODS]
    attacks.append((f"{_STRANGERS} connections to SSH that say nothing", partial(_crowded, machine, link)))
    for number, (name, attack) in enumerate(attacks, 1):
        if number not in course.left:
            continue
        try:
            took = attack()
            blow = Blow(f"{name} (log-in {took:.1f} s, {took / idle:.1f} times idle)")
        except ProductFailure as failure:
            blow = Blow(name, str(failure).splitlines()[0])
        course.note(number, blow)
    after = "" if _kept(machine) == before else "SSH or the guard was started anew"
    course.note(CASES, Blow("after all floods", after))


def _kept(machine: Device) -> str:
    """Who must be the same after all floods."""
    return machine.succeed("cat /etc/service/ssh/supervise/pid /etc/service/guard/supervise/pid")


def _flooded(machine: Device, flood: Flood) -> float:
    """Seconds that the slower of two log-ins took."""
    try:
        machine.succeed(flood.start, timeout=180)
        machine.wait_until_succeeds(flood.under_way, 240)
        return max(_log_in(machine) for _ in range(2))
    finally:
        machine.execute(flood.stop, timeout=180)


def _crowded(machine: Device, link: Link) -> float:
    with Strangers(machine, link, _STRANGERS) as strangers:
        took = max(_log_in(machine) for _ in range(2))
    if len(strangers.connected) < _STRANGERS // 2:
        raise HarnessError(f"only {len(strangers.connected)} strangers were connected")
    return took


def _log_in(machine: Device) -> float:
    """Seconds until a command over a new connection has ended, tried again while the device hangs up."""
    words = ssh.argv(machine.target(), ["true"], batch=True, connect_timeout=_PATIENCE)
    started = time.monotonic()
    while (left := started + _PATIENCE - time.monotonic()) > 0:
        try:
            done = run(words, input=b"", check=False, timeout=left)
        except CommandError:
            break
        if done.returncode == 0:
            return time.monotonic() - started
        if not done.stderr.startswith(_HUNG_UP):
            raise ProductFailure(f"no log-in: {done.stderr.decode(errors='replace').strip()}")
        machine.hold_for(0.3)
    raise ProductFailure(f"no log-in within {_PATIENCE} s")
