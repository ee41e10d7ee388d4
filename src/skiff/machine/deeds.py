"""What is done with each device of a fleet, besides updates: ask how it is, run a program, restart it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import msgspec

from skiff.host.errors import UserError
from skiff.host.run import CommandError
from skiff.host.ui import Ui
from skiff.machine import slots
from skiff.machine.push import restart_only, wait_until_well
from skiff.machine.remote import Remote
from skiff.model.fleet import Answer, Outcome


class Ran(msgspec.Struct, frozen=True):
    """What a program on a device gave."""

    status: int
    stdout: str
    stderr: str


def status(remote: Remote) -> Answer:
    """How the device is, by its own `skiff-status`."""
    units = slots.units(remote)
    for name, unit in units.items():
        if unit.state == "fail":
            return Answer(f"{name}: {unit.text}", units, ok=False, hint=unit.hint)
    told = [units[name].text for name in ("system", "uptime") if name in units]
    worth = [f"{name}: {unit.text}" for name, unit in units.items() if unit.state in ("warn", "wait")]
    return Answer("; ".join([*([", up ".join(told)] if told else []), *worth]), units)


def run(remote: Remote, words: Sequence[str], environment: Mapping[str, str], timeout: float) -> Answer:
    """Run a program there; ``timeout`` is in seconds. Variables are in its environment."""
    given = [f"{name}={value}" for name, value in environment.items() if name.isidentifier()]
    try:
        reply = remote.run(["env", *given, *words], timeout=timeout, check=False)
    except CommandError as late:
        raise UserError(f"no end after {timeout:g} s", hint="--timeout SECONDS gives it longer") from late
    last = next(iter(reversed((reply.text.strip() or reply.problem).splitlines())), "")
    ran = Ran(reply.status, reply.text, reply.problem)
    if reply.status == 0:
        return Answer(last, ran)
    return Answer(
        f"status {reply.status}: {reply.problem.splitlines()[-1] if reply.problem else last}", ran, ok=False
    )


def reboot(remote: Remote, patience: float, ui: Ui) -> Answer:
    """Restart the device, and wait until it is as well as before; at most ``patience`` seconds."""
    deadline = time.monotonic() + patience
    before = slots.units(remote)
    with ui.step("restart"):
        seconds = restart_only(remote, deadline)
    with ui.step("check") as step:
        wait_until_well(remote, before, deadline, step)
    return Answer(f"answered again after {seconds:.1f} s", {"seconds": round(seconds, 1)})


def lines(outcome: Outcome) -> list[str]:
    """What a program said on a device, or why it said nothing."""
    if isinstance(outcome.value, Ran):
        said = [*outcome.value.stdout.splitlines(), *outcome.value.stderr.splitlines()]
        return said if outcome.state == "ok" else [*said, f"({outcome.text})"]
    return [f"({outcome.state}{f': {outcome.text}' if outcome.text else ''})"]
