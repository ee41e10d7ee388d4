"""Apps by git push: real pushes over SSH, built, checked and switched to on a booted device."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from skiff.host.run import run
from tests.vm.driver import Device, Result
from tests.vm.environments import BOX, enter

MakeDevice = Callable[..., Device]

# An app in shell: its page tells which version it is, and what its configuration says.
APP = """FROM box
COPY . /app
RUN echo built >/app/built
EXPOSE 8000
CMD ["/bin/sh", "/app/serve"]
"""
SERVE = """mkdir -p /tmp/www
echo "version VERSION colour $COLOUR on $PORT" >/tmp/www/index.html
exec httpd -f -p "$PORT" -h /tmp/www
"""


class Repository:
    """A repository on the workstation, and pushes of it as somebody's git does them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        run(["git", "init", "-q", "-b", "main", str(folder)])

    def commit(self, **files: str) -> None:
        """Commit files; a text of nothing removes one."""
        for name, text in files.items():
            path = self.folder / name.replace("__", ".")
            path.write_text(text)
        run(["git", "-C", str(self.folder), "add", "-A"])
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        run(["git", "-C", str(self.folder), *who, "commit", "-q", "--allow-empty", "-m", "x"])

    def push(self, machine: Device, app: str, branch: str = "main") -> tuple[int, str]:
        """Push to an app; status, and what git shows."""
        words = enter(machine, user="crew")
        env = {"GIT_SSH_COMMAND": shlex.join(words[:-1]), "GIT_SSH_VARIANT": "simple"}
        argv = ["git", "-C", str(self.folder), "push", f"{words[-1]}:{app}", f"HEAD:refs/heads/{branch}"]
        done = run(argv, env=env, input=b"", timeout=240, check=False)
        return done.returncode, done.stderr.decode()


def crew(machine: Device, command: str, stdin: bytes = b"", status: int = 0) -> Result:
    """A command of crew over SSH, which must end with that status."""
    done = machine.ask(command, user="crew", input=stdin, timeout=180)
    assert done.status == status, f"{command}: {done.status}\n{done.stdout}{done.stderr}"
    return done


def page(machine: Device, host: str) -> str:
    """What the router answers for a host name."""
    return machine.succeed(f"wget -q -O - -T 10 --header 'Host: {host}' http://127.0.0.1/")


@pytest.fixture
def crewed(device: MakeDevice) -> Callable[[str], Device]:
    def make(engine: str) -> Device:
        machine = device("virt/qemu", f"engine/{engine}", "apps/crew")
        machine.start(memory=768)
        machine.wait_for_ssh()
        machine.wait_for_engine()
        machine.succeed(BOX, timeout=180)
        machine.wait_for_unit("crew", "no apps", 60)
        return machine

    return make


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_push(crewed: Callable[[str], Device], engine: str, tmp_path: Path) -> None:
    machine = crewed(engine)
    repository = Repository(tmp_path / "app")
    repository.commit(Dockerfile=APP, serve=SERVE.replace("VERSION", "one"))
    status, shown = repository.push(machine, "hello")
    assert status == 0, shown
    assert "new app hello" in shown
    assert page(machine, "hello.skiff.local") == "version one colour  on 8000\n"

    # A failed build, one that ends, and one that does not listen leave the old one serving.
    for files, reason in (
        ({"Dockerfile": APP.replace("echo built", "exit 3 #")}, "exit"),
        ({"Dockerfile": APP, "serve": "echo last words; exit 4\n"}, "ended with status 4"),
    ):
        repository.commit(**files)
        status, shown = repository.push(machine, "hello")
        assert status != 0, shown
        assert reason in shown
        assert page(machine, "hello.skiff.local") == "version one colour  on 8000\n"
    repository.commit(Dockerfile=APP, serve=SERVE.replace("VERSION", "two"))
    status, shown = repository.push(machine, "hello")
    assert status == 0, shown
    assert page(machine, "hello.skiff.local").startswith("version two")

    # Configuration, rollback, and the way it is after a power cut.
    crew(machine, "config:set hello COLOUR=blue")
    assert page(machine, "hello.skiff.local") == "version two colour blue on 8000\n"
    crew(machine, "rollback hello")
    assert page(machine, "hello.skiff.local") == "version one colour blue on 8000\n"
    assert "rollback to" in crew(machine, "releases hello").stdout
    assert "hello" in crew(machine, "apps:list").stdout
    machine.succeed("sync")
    machine.cut_power()
    machine.boot()
    machine.wait_for_unit("crew", "1 apps run", 180)
    assert page(machine, "hello.skiff.local") == "version one colour blue on 8000\n"
    # At rest no process of crew runs.
    assert machine.succeed("ps -o user,comm | grep ^crew || true").split() in ([], ["crew", "nginx"] * 2)
    assert machine.failed() == {}
