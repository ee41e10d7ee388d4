"""Looking at a machine after a blow: what a look raises becomes a line of the verdict."""

from __future__ import annotations

from collections.abc import Callable

from tests.vm.driver import Device


def problem(look: Callable[[], object]) -> str:
    """What is wrong, as a look that raises AssertionError tells it, in one line; empty when nothing is."""
    try:
        look()
    except AssertionError as failure:
        return str(failure).splitlines()[0]
    return ""


def problem_until_off(machine: Device, look: Callable[[], object]) -> str:
    """The same, and the machine is off afterwards, whatever came of it."""
    try:
        return problem(look)
    finally:
        if machine.is_running():
            machine.cut_power()
