"""skiff-core against a stand-in for the docker command: what it makes, keeps and reports.

Most of it runs within the test: starts of Python for each call of docker would take most of the time.
What depends on processes (a first apply, power cuts, two at once) runs the program, and docker as one too.
"""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from skiff_device.common import run as running
from skiff_device.common.errors import DeviceError
from skiff_device.core import apply as applying
from skiff_device.core.__main__ import main
from tests.tool.fakes import docker

FAKE = Path(__file__).parent / "fakes" / "docker.py"
SRC = Path(__file__).parents[2] / "src"
# The time that a new container must stay up is of no interest here.
START = """import sys
import skiff_device.core.apply as applying
from skiff_device.core.__main__ import main
applying._STAYS_UP = 0
sys.exit(main())"""
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIaIHcrMFZX7327yE4hX702XkONGPVsfGbaLbJwnQQph me@there"
CONFIG = """\
containers:
  core:
    image: local/core:latest
    cmd: [sleep, "{}"]
    startAfterCreate: true
    restartPolicy: always
users:
  core:
    container: core
    containerUser: core
    auth:
      copyRootKeys: true
images:
  local/core:latest:
    build:
      source: src
"""
# Another container of that image.
ODD = """\
  odd:
    image: local/core:latest
    startAfterCreate: true
"""


class Board:
    """A folder that stands in for the machine, with an engine that is a file."""

    def __init__(self, top: Path) -> None:
        self.root, self.engine = top / "root", top / "engine"
        self.engine.mkdir()
        program = top / "bin" / "docker"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {FAKE} "$@"\n')
        program.chmod(0o755)
        self.put("etc/passwd", "root:x:0:0::/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/bin/false\n")
        self.put("etc/shadow", "root:*:19000:0:99999:7:::\n")
        self.put("etc/group", "root:x:0:\ndocker:x:990:\n")
        self.put("root/.ssh/authorized_keys", KEY + "\n")
        self.put("run/skiff/persist", "")
        self.put("mnt/persist/skiff/core/src/Dockerfile", "FROM scratch\n")
        (self.root / "proc").mkdir()
        (self.engine / "passwd").write_text(
            "root:x:0:0::/root:/bin/sh\ncore:x:1005:1005::/home/core:/bin/zsh\n"
        )
        self.config(CONFIG.format(1))

    def put(self, path: str, text: str) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def config(self, text: str) -> None:
        self.put("mnt/persist/skiff/core/config.yaml", text)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """The program itself."""
        env = {
            **os.environ,
            "SKIFF_ROOT": str(self.root),
            "PYTHONPATH": str(SRC),
            "FAKE_DOCKER": str(self.engine),
            "PATH": f"{self.engine.parent / 'bin'}:{os.environ['PATH']}",
        }
        argv = [sys.executable, "-c", START, *words]
        return subprocess.Popen(argv, env=env, stderr=subprocess.PIPE, text=True)

    def apply_program(self) -> int:
        """Apply with processes."""
        with self.start("apply") as process:
            process.communicate(timeout=60)
            return process.returncode

    def run(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """The same within this process; so is docker."""

        def capture(argv: list[str], *_: Any, **__: Any) -> running.Result:
            assert argv[0] == "docker", argv
            hangs = self.engine / "hangs"
            if argv[1] == "exec" and hangs.exists() and hangs.read_text() in argv:
                raise DeviceError("docker exec is late: 60 s", "skiff-status")
            return running.Result(*docker.call(self.engine, argv[1:], os.getpid()))

        def stream(argv: list[str], log: running.Log, *_: Any) -> running.Result:
            done = capture(argv)
            said = done.out.decode() + done.err
            for line in said.splitlines():
                log(line)
            return running.Result(done.status, b"", said)

        out, err = io.StringIO(), io.StringIO()
        before = signal.getsignal(signal.SIGTERM)
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setenv("SKIFF_ROOT", str(self.root))
            patch.setattr(running, "capture", capture)
            patch.setattr(running, "stream", stream)
            patch.setattr(applying, "_STAYS_UP", 0)
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            try:
                status = main(list(words))
            finally:
                signal.signal(signal.SIGTERM, before)
        return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())

    def run_full(self, *words: str) -> subprocess.CompletedProcess[str]:
        """As `run`, with a persist that takes no byte more."""
        real = os.fsync

        def fsync(file: int) -> None:
            if "/mnt/persist/" in str(Path(f"/proc/self/fd/{file}").readlink()):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(file)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            return self.run(*words)

    def apply(self, *words: str) -> int:
        return self.run("apply", *words).returncode

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.engine / "state.json").read_text())
        return found

    def change(self, **parts: Any) -> None:
        """Change what the engine holds."""
        path = self.engine / "state.json"
        empty = {"containers": {}, "images": {}, "remote": {}, "next": 1}
        state = json.loads(path.read_text()) if path.exists() else empty
        path.write_text(json.dumps({**state, **parts}))

    def containers(self) -> dict[str, str]:
        """Name to `state policy`."""
        return {
            name: f"{one['State']['Status']} {one['HostConfig']['RestartPolicy']['Name']}"
            for name, one in self.state()["containers"].items()
        }

    def verbs(self) -> list[str]:
        calls = [json.loads(line) for line in (self.engine / "calls").read_text().splitlines()]
        (self.engine / "calls").unlink()
        return [call[0] for call in calls]

    def line(self, name: str = "core") -> list[str]:
        return self.read(f"run/skiff/core/containers/{name}").splitlines()[0].split("\t")


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def test_first_apply_makes_everything_and_the_second_nothing(board: Board) -> None:
    assert board.apply_program() == 0
    assert board.containers() == {"core": "running always"}
    lines = board.read("run/skiff/core/containers/core").split("\n")
    number = board.state()["containers"]["core"]["Id"]
    assert lines == ["ok\trunning\t", number, f"/sys/fs/cgroup/docker/{number}", ""]
    assert "Step 1/1 : FROM scratch" in board.read("run/skiff/core/log/core")
    assert board.read("run/skiff/status/core") == "ok\tcore: running; users: core\t\n"
    board.verbs()
    assert board.apply_program() == 0
    assert not {"create", "start", "stop", "rename", "build", "pull"} & set(board.verbs())
    assert board.run("plan").stdout == "nothing to do\n"


def test_accounts_follow_the_container(board: Board) -> None:
    assert board.apply() == 0
    assert "core:x:1005:990::/home/core:/usr/lib/skiff/core/login\n" in board.read("etc/passwd")
    assert "core:*:" in board.read("etc/shadow")
    assert board.read("run/skiff/core/users/core").splitlines() == [
        "container=core",
        "user=core",
        "home=/home/core",
        "shell=/bin/zsh",
    ]
    assert board.read("home/core/.ssh/authorized_keys") == f'command="/usr/lib/skiff/core/login" {KEY}\n'


def test_a_missing_container_user_is_made(board: Board) -> None:
    text = CONFIG.format(1).replace(
        "containerUser: core", "containerUser: anna\n    createContainerUser: true"
    )
    board.config(text)
    assert board.apply() == 0
    assert "shell=/bin/bash" in board.read("run/skiff/core/users/core")


@pytest.mark.parametrize(
    ("owner", "others", "number"),
    [
        # The number it had, for files that outlived its container.
        ("", "", 1006),
        # A home that did says more, unless it is the engine's empty folder.
        ("1042", "", 1042),
        ("0", "", 1006),
        # Somebody else's in there.
        ("", "zoe:x:1006:1006::/home/zoe:/bin/sh\n", 1007),
    ],
)
def test_a_user_that_is_made_anew_keeps_its_number(
    board: Board, owner: str, others: str, number: int
) -> None:
    made = "containerUser: anna\n    createContainerUser: true"
    board.config(CONFIG.format(1).replace("containerUser: core", made))
    board.apply()
    assert "anna:x:1006:" in (board.engine / "passwd").read_text()
    (board.engine / "passwd").write_text(f"root:x:0:0::/root:/bin/sh\n{others}")
    if owner:
        (board.engine / "owner").write_text(owner)
    board.config(CONFIG.format(2).replace("containerUser: core", made))
    assert board.apply() == 0
    assert f"anna:x:{number}:" in (board.engine / "passwd").read_text()


def test_who_is_new_does_not_get_a_number_that_another_had(board: Board) -> None:
    before = (board.engine / "passwd").read_text()
    line = "  {0}: {{container: core, containerUser: {0}, createContainerUser: true}}\n"
    text = CONFIG.format(1)
    board.config(text.replace("users:\n", "users:\n" + line.format("anna")))
    board.apply()
    (board.engine / "passwd").write_text(before)
    board.config(text.replace("users:\n", "users:\n" + line.format("bob") + line.format("anna")))
    board.apply()
    assert "anna:x:1006:1006::/home/anna:/bin/bash\nbob:x:1007:" in (board.engine / "passwd").read_text()


def test_what_one_container_said_of_a_user_is_not_taken_for_another(board: Board) -> None:
    """Home and shell may be missing there; the number stays, for files that both see."""
    board.apply()
    (board.engine / "passwd.other").write_text("root:x:0:0::/root:/bin/sh\n")
    other = CONFIG.format(1).replace("users:\n", "  other: {image: 'local/core:latest'}\nusers:\n")
    board.config(other.replace("container: core", "container: other"))
    # Nor before it is asked.
    (board.engine / "down").touch()
    board.apply()
    unknown = "container=other\nuser=core\nhome=\nshell=/bin/sh\n"
    assert board.read("run/skiff/core/users/core") == unknown
    (board.engine / "down").unlink()
    assert board.apply() == 0
    assert board.read("run/skiff/core/users/core") == unknown
    assert "core:x:1005:" in board.read("etc/passwd")


def test_a_user_that_a_new_image_lacks_has_no_home(board: Board) -> None:
    board.apply()
    (board.engine / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    assert board.apply() == 0
    assert "home=\nshell=/bin/sh\n" in board.read("run/skiff/core/users/core")
    assert "core:x:1005:" in board.read("etc/passwd")


def test_a_changed_definition_keeps_the_old_container(board: Board) -> None:
    board.apply()
    before = board.state()["containers"]["core"]["Id"]
    board.config(CONFIG.format(2))
    assert board.apply() == 0
    containers = board.containers()
    kept = next(name for name in containers if name != "core")
    assert containers == {"core": "running always", kept: "exited no"}
    assert board.state()["containers"][kept]["Id"] == before
    shown = json.loads(board.run("status", "--json").stdout)
    assert shown["aside"] == [kept]
    board.config(CONFIG.format(3))
    board.apply()
    assert f"{kept}-2" in board.containers()


@pytest.mark.parametrize("steps", range(6))
def test_a_power_cut_at_any_step_is_made_good(board: Board, steps: int) -> None:
    board.apply()
    before = board.state()["containers"]["core"]["Id"]
    board.config(CONFIG.format(2))
    (board.engine / "die").write_text(str(steps))
    assert board.apply_program() == -9
    (board.engine / "die").unlink()
    assert board.apply() == 0
    containers = board.state()["containers"]
    assert containers["core"]["Config"]["Cmd"] == ["sleep", "2"]
    assert sorted(board.containers().values()) == ["exited no", "running always"]
    assert before in [one["Id"] for name, one in containers.items() if name != "core"]


def test_a_container_that_does_not_start_makes_room_for_the_old_one(board: Board) -> None:
    board.apply()
    before = board.state()["containers"]["core"]["Id"]
    (board.engine / "broken").write_text("sleep 2")
    board.config(CONFIG.format(2))
    assert board.apply() == 1
    assert board.containers() == {"core": "running always"}
    assert board.state()["containers"]["core"]["Id"] == before
    assert board.line()[0] == "warn"
    assert "the one before is back" in board.line()[1]
    board.verbs()
    # Not again and again, until something changes or it is asked for.
    assert board.apply() == 1
    assert "stop" not in board.verbs()
    (board.engine / "broken").unlink()
    assert board.apply("--renew", "core") == 0
    assert board.state()["containers"]["core"]["Config"]["Cmd"] == ["sleep", "2"]


def test_a_changed_source_is_built_again_and_a_bad_one_leaves_the_container(board: Board) -> None:
    board.apply()
    before = board.state()["containers"]["core"]["Id"]
    board.put("mnt/persist/skiff/core/src/Dockerfile", "FROM scratch\nRUN FAIL\n")
    assert board.apply() == 1
    assert board.state()["containers"]["core"]["Id"] == before
    assert board.line()[0] == "warn"
    assert "cannot be built" in board.line()[1]
    board.put("mnt/persist/skiff/core/src/Dockerfile", "FROM scratch\nRUN true\n")
    assert board.apply() == 0
    assert board.state()["containers"]["core"]["Id"] != before


def test_a_pushed_environment_counts_instead_of_the_image(board: Board) -> None:
    board.apply()
    commit = "0123456789" * 4
    board.put(f"mnt/persist/skiff/core/env/core/trees/{commit}/Dockerfile", "FROM scratch\n")
    (board.root / "mnt/persist/skiff/core/env/core/current").symlink_to(f"trees/{commit}")
    assert board.apply() == 0
    state = board.state()
    assert state["containers"]["core"]["Image"] == state["images"]["skiff-env/core:012345678901"]["Id"]
    done = board.run("unpush", "core")
    assert done.returncode == 0, done.stderr
    state = board.state()
    assert state["containers"]["core"]["Image"] == state["images"]["local/core:latest"]["Id"]
    assert board.run("unpush", "core").stdout == "nothing is pushed for core\n"
    assert board.run("unpush", "../x").returncode == 1


def test_mistakes_leave_the_last_good_state(board: Board) -> None:
    board.apply()
    before = board.containers()
    board.config(
        "containers:\n  core:\n    image: 1\n    ports:\n    - hostPort: many\n      containerPort: 1\n"
    )
    done = board.run("apply")
    assert done.returncode == 2
    assert (
        "config.yaml:5: containers.core.ports[0].hostPort: expected a number from 1 to 65535" in done.stderr
    )
    assert board.containers() == before
    assert "shell=" in board.read("run/skiff/core/users/core")
    assert board.read("run/skiff/status/core").startswith("fail\tconfig.yaml:5: ")
    assert board.run("check").returncode == 2


def test_an_engine_that_is_down_leaves_accounts_and_says_so(board: Board) -> None:
    (board.engine / "down").touch()
    assert board.apply() == 1
    assert board.line()[:2] == ["wait", "waits for the container engine"]
    assert "core:x:1000:" in board.read("etc/passwd")
    assert board.read("run/skiff/status/core").startswith("wait\t")


def test_folders_in_ram_are_there_before_the_engine(board: Board) -> None:
    """Podman starts containers as soon as it answers, and makes no folder that they mount."""
    mounts = "cmd: [x]\n    mounts: ['/run/udev:/run/udev', '/mnt/persist/home:/home']"
    board.config(CONFIG.format(1).replace('cmd: [sleep, "1"]', mounts))
    (board.engine / "down").touch()
    board.apply()
    assert (board.root / "run/udev").is_dir() and (board.root / "tmp/skiff-core/core").is_dir()
    # What would stay is made when the container is.
    assert not (board.root / "mnt/persist/home").exists()


def test_a_full_persist_locks_nobody_out_and_stops_nothing(board: Board) -> None:
    assert board.apply() == 0
    board.config(
        CONFIG.format(2).replace(
            "users:\n", "users:\n  anna: {container: core, auth: {copyRootKeys: true}}\n"
        )
    )
    done = board.run_full("apply")
    assert (
        "Traceback" not in done.stderr and "the disk is full, config.good.yaml is not written" in done.stderr
    )
    assert done.returncode == 0
    assert "anna:x:" in board.read("etc/passwd")
    assert board.containers()["core"] == "running always"
    assert board.read("run/skiff/status/core").startswith("warn\t")
    assert "the disk is full" in board.read("run/skiff/status/core")
    # Nor does a first start, whose configuration is then the image's.
    fresh = "mnt/persist/skiff/core"
    for name in ("config.yaml", "config.good.yaml", "known.json"):
        (board.root / fresh / name).unlink()
    board.put("usr/share/skiff/core/config.yaml", CONFIG.format(2))
    assert board.run_full("apply").returncode == 0
    assert sorted(path.name for path in (board.root / fresh).iterdir()) == ["src"]
    assert "core:x:" in board.read("etc/passwd")
    done = board.run_full("unpush", "core")
    assert done.returncode == 0, done.stderr


def test_persist_away_gives_accounts_of_the_image(board: Board) -> None:
    board.put("usr/share/skiff/core/config.yaml", CONFIG.format(1))
    (board.root / "run/skiff/persist").unlink()
    assert board.apply() == 0
    assert "core:x:1000:" in board.read("etc/passwd")
    assert board.line()[0] == "wait"
    assert not (board.engine / "calls").exists()


def test_the_configuration_is_seeded_once(board: Board) -> None:
    (board.root / "mnt/persist/skiff/core/config.yaml").unlink()
    board.put("usr/share/skiff/core/config.yaml", CONFIG.format(7))
    assert board.apply() == 0
    assert board.read("mnt/persist/skiff/core/config.yaml") == CONFIG.format(7)


def test_no_configuration_at_all_is_no_failure(board: Board) -> None:
    (board.root / "mnt/persist/skiff/core/config.yaml").unlink()
    done = board.run("apply")
    assert done.returncode == 0, done.stderr
    assert board.read("run/skiff/status/core").startswith("ok\tno configuration yet: write /mnt/")
    assert board.run("plan").stdout == "nothing to do\n"
    # Persist may hold one; it is not there to tell.
    (board.root / "run/skiff/persist").unlink()
    assert board.run("apply").returncode == 0
    assert board.read("run/skiff/status/core").startswith("wait\tcore waits for persist")


def test_one_that_fails_does_not_hold_up_the_other(board: Board) -> None:
    more = "containers:\n  far: {image: 'far.invalid/x:1', startAfterCreate: true}\n"
    more += "  lost: {image: 'local/core:latest', mounts: ['/nowhere:/x']}\n"
    more += "  theirs: {image: 'local/core:latest'}\n"
    board.config(CONFIG.format(1).replace("containers:\n", more))
    foreign = {"Id": "f" * 64, "Name": "/theirs", "Config": {}, "HostConfig": {}, "State": {}}
    board.change(containers={"theirs": foreign})
    assert board.apply() == 1
    assert board.line()[0] == "ok"
    assert board.line("far")[0] == "fail"
    assert board.line("far")[2] == "check the network: skiff-status"
    assert board.line("lost")[1] == "the folder /nowhere of a mount is not there"
    assert board.line("theirs")[2].startswith("docker rename theirs")
    assert board.state()["containers"]["theirs"] == foreign


@pytest.mark.parametrize(
    "said",
    [
        "invalid reference format: repository name (MyOrg/x) must be lowercase",
        "parsing reference: repository name must be lowercase",
        "invalid reference format",
    ],
)
def test_a_name_that_the_engine_does_not_take_does_not_hold_up_the_other(board: Board, said: str) -> None:
    (board.engine / "unnamable").write_text(f"far.example/x:1\n{said}")
    far = "containers:\n  far: {image: 'far.example/x:1'}\n"
    board.config(CONFIG.format(1).replace("containers:\n", far))
    assert board.apply() == 1
    assert board.line()[:2] == ["ok", "running"]
    assert board.line("far")[0] == "fail" and said in board.line("far")[1]


def test_a_container_whose_users_cannot_be_made_does_not_hold_up_the_other(board: Board) -> None:
    (board.engine / "passwd.odd").write_text("root:x:0:0::/root:/bin/sh\n")
    (board.engine / "hangs").write_text("odd")
    text = CONFIG.format(1).replace("containers:\n", "containers:\n" + ODD)
    user = "users:\n  anna: {container: odd, containerUser: anna, createContainerUser: true}\n"
    board.config(text.replace("users:\n", user))
    done = board.run("apply")
    assert "warning: odd: user anna is not looked after: docker exec is late: 60 s" in done.stderr
    assert board.line()[:2] == board.line("odd")[:2] == ["ok", "running"]
    assert "home=/home/core\n" in board.read("run/skiff/core/users/core")
    assert "late" in board.read("run/skiff/status/core")


def test_a_removed_user_and_container_are_out_but_kept(board: Board) -> None:
    board.apply()
    board.config("containers: {}\n")
    assert board.apply() == 0
    assert "core" not in board.read("etc/passwd")
    assert not (board.root / "home/core/.ssh/authorized_keys").exists()
    assert not (board.root / "run/skiff/core/users/core").exists()
    assert board.containers() == {"core": "exited no"}
    # And back again, as it was.
    board.config(CONFIG.format(1))
    assert board.apply() == 0
    assert board.containers() == {"core": "running always"}


def test_a_locked_user_is_out(board: Board) -> None:
    board.apply()
    board.config(CONFIG.format(1).replace("copyRootKeys: true", "copyRootKeys: true\n      locked: true"))
    assert board.apply() == 0
    assert "core" not in board.read("etc/passwd")
    assert not (board.root / "home/core/.ssh/authorized_keys").exists()


def test_a_container_that_was_stopped_stays_so_until_the_next_boot(board: Board) -> None:
    board.apply()
    state = board.state()
    state["containers"]["core"]["State"]["Status"] = "exited"
    board.change(**state)
    assert board.apply() == 0
    assert board.containers() == {"core": "exited always"}
    (board.root / "run/skiff/core/boot.json").unlink()
    assert board.apply() == 0
    assert board.containers() == {"core": "running always"}


def test_a_registry_gives_the_image_under_its_short_name(board: Board) -> None:
    board.change(remote={"quay.io/some/os:1": 1})
    text = "containers:\n  os: {image: 'some/os:1'}\n"
    text += "images:\n  some/os:1: {pull: {policy: ifnotexists, registry: quay.io}}\n"
    board.config(text)
    assert board.apply() == 0
    assert board.containers() == {"os": "created no"}
    assert board.line("os")[:2] == ["ok", "not started yet"]


def test_clean_names_what_it_removes_and_asks(board: Board) -> None:
    board.apply()
    board.config(CONFIG.format(2))
    board.apply()
    (kept,) = board.containers().keys() - {"core"}
    asked = board.run("clean", stdin="n\n")
    assert f"kept aside: {kept}" in asked.stdout
    assert kept in board.containers()
    assert board.run("clean", "--yes").returncode == 0
    assert list(board.containers()) == ["core"]


def test_a_second_apply_waits_for_the_first(board: Board) -> None:
    import fcntl

    lock = board.put("run/skiff/core/lock", "")
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        process = board.start("apply")
        assert process.stderr is not None
        assert process.stderr.readline() == "another apply is at work: waiting for it\n"
        assert not (board.engine / "calls").exists()
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 0, rest
