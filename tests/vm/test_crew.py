"""Apps by git push: real pushes over SSH, built, checked and switched to on a booted device.

One machine for each engine. What is cheap to ask is asked on docker's alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.vm.apps import Repository, crew, make_bases, page
from tests.vm.driver import Device

MakeDevice = Callable[..., Device]

# An app in shell, with what today's Dockerfiles are made of. Its page tells version and configuration.
SHELL = """# syntax=docker/dockerfile:1
FROM box AS base
RUN --mount=type=cache,target=/cache <<END
echo once >>/cache/built
wc -l </cache/built >/times
END

FROM base AS web
COPY <<END /motd
from a heredoc
END
COPY . /app
EXPOSE 8000
CMD ["/bin/sh", "/app/serve"]

FROM web AS broken
RUN exit 9
"""
SERVE = """mkdir -p /tmp/www
echo "version VERSION colour $COLOUR on $PORT, $(cat /motd), built $(cat /times)" >/tmp/www/index.html
echo serving
exec httpd -f -p "$PORT" -h /tmp/www
"""
PROCFILE = """web: sh /app/serve
worker: while :; do echo worker at work; sleep 1; done
"""


def serve(version: str) -> str:
    return SERVE.replace("VERSION", version)


@pytest.fixture
def crewed(device: MakeDevice) -> Callable[..., Device]:
    def make(*layers: str) -> Device:
        machine = device("virt/qemu", *layers, "apps/crew")
        machine.start(memory=1024)
        machine.wait_for_ssh()
        machine.wait_for_engine()
        make_bases(machine)
        machine.wait_for_unit("crew", "no apps", 60)
        return machine

    return make


@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_push(crewed: Callable[..., Device], engine: str, tmp_path: Path) -> None:
    machine = crewed(f"engine/{engine}")
    repository = Repository(tmp_path / "app", Dockerfile=SHELL, serve=serve("one"), Procfile=PROCFILE)
    crew(machine, "apps:create hello")
    crew(machine, "builder-dockerfile:set hello target web")
    status, shown = repository.push(machine, "hello")
    assert status == 0, shown
    first = "version one colour  on 8000, from a heredoc, built 1\n"
    assert page(machine, "hello") == first
    crew(machine, "ps:scale hello worker=2")
    assert crew(machine, "ps:report hello").stdout.count("running") == 3
    assert "worker at work" in crew(machine, "logs hello -p worker").stdout

    # A failed build and one that does not stay leave the old one serving.
    for files, reason in (
        ({"Dockerfile": SHELL.replace("COPY . /app", "RUN exit 3")}, "exit"),
        ({"Dockerfile": SHELL, "serve": "echo last words; exit 4\n"}, "ended with status 4"),
    ):
        repository.commit(**files)
        status, shown = repository.push(machine, "hello")
        assert status != 0, shown
        assert reason in shown
        assert page(machine, "hello") == first
    assert "last words" in shown
    repository.commit(serve=serve("two"))
    status, shown = repository.push(machine, "hello")
    assert status == 0, shown
    assert page(machine, "hello").startswith("version two")

    # Configuration, the way back, and what is there after a power cut.
    crew(machine, "config:set hello COLOUR=blue")
    assert page(machine, "hello").startswith("version two colour blue")
    crew(machine, "rollback hello")
    assert page(machine, "hello").startswith("version one colour blue")
    assert "rollback to" in crew(machine, "releases hello").stdout
    machine.cut_power()
    machine.boot()
    machine.wait_for_unit("crew", "1 app runs", 240)
    assert page(machine, "hello").startswith("version one colour blue")
    at_rest(machine)
    assert machine.failed() == {}


def at_rest(machine: Device) -> None:
    """Nothing of crew runs but the router, and what ends older releases is gone soon."""
    machine.wait_until_succeeds("! pgrep -f skiff_device.crew", 120)
    assert set(machine.succeed("ps -o user,comm | grep ^crew | grep -v dropbear || true").split()) <= {
        "crew",
        "nginx",
    }
