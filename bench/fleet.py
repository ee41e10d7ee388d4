"""How long `skiff fleet run` takes over fifty devices, as a multiple of one: real SSH servers here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from statistics import median

import msgspec

from bench.setting import Setting, timed
from bench.table import Figure
from skiff.host.errors import UserError
from tests.tool.ssh_server import Servers, missing, ssh_servers

_MANY = 50

FIGURES = (Figure("fleet-run", f"fleet run over {_MANY} devices against one", "×", 5),)


def measure(setting: Setting) -> Iterator[Figure]:
    """The verb as it is, start of Python included; one and many in turn."""
    if problem := missing():
        raise UserError(problem)
    repeat = setting.times(7, 3)
    one, many = [], []
    with ssh_servers(setting.empty("fleet"), _MANY) as servers, setting.ui.step("runs", total=repeat) as step:
        # The first learns the host keys.
        _run(servers, _MANY)
        for _ in range(repeat):
            one.append(_run(servers, 1))
            many.append(_run(servers, _MANY))
            step.advance()
    ratio = median(large / small for large, small in zip(many, one, strict=True))
    note = f"median of {repeat}; {median(many):.2f} s against {median(one):.2f} s, servers on the same 2 CPUs"
    yield msgspec.structs.replace(FIGURES[0], value=ratio, note=note)


def _run(servers: Servers, count: int) -> float:
    words = ["fleet", "run", "--quiet", "--inventory", str(servers.inventory(count)), "--", "true"]
    return timed([sys.executable, "-m", "skiff", *words], {}, servers.folder).seconds
