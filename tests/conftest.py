"""Options of the test run itself."""

from __future__ import annotations

import signal

import pytest

# A shell has its background jobs ignore SIGINT. Tests of Ctrl-C, and what they start, must not.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden anew")
