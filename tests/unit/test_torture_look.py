"""What a look at a machine after a blow becomes in the verdict."""

from __future__ import annotations

from typing import cast

import pytest

from tests.vm.driver import Device, HarnessError, ProductFailure
from torture.look import problem, problem_until_off


class Machine:
    """As much of a device as is asked."""

    on = True

    def is_running(self) -> bool:
        return self.on

    def cut_power(self) -> None:
        self.on = False


def fail(error: Exception) -> None:
    raise error


def test_the_first_line_of_what_a_look_raises_is_the_problem() -> None:
    assert problem(lambda: fail(ProductFailure("no SSH\nconsole: …"))) == "no SSH"
    assert problem(lambda: fail(AssertionError("7 was flushed"))) == "7 was flushed"
    assert problem(lambda: "all is well") == ""


def test_a_harness_that_fails_is_no_problem_of_the_device() -> None:
    with pytest.raises(HarnessError):
        problem(lambda: fail(HarnessError("no QEMU")))


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("message", ["", "no SSH"])
def test_the_machine_is_off_afterwards(on: bool, message: str) -> None:
    machine = Machine()
    machine.on = on
    look = (lambda: fail(ProductFailure(message))) if message else (lambda: None)
    assert problem_until_off(cast(Device, machine), look) == message
    assert not machine.on
