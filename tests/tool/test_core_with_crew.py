"""`git push core@device:env` on a device with Crew: core's user hands the connection over, Crew receives.

git, both halves and the service core are real; who builds and switches is a stand-in.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from skiff_device.crew import status, store, to_core
from skiff_device.crew.engine import Engine
from skiff_device.crew.paths import Paths
from tests.tool.crew_device import SOURCE, CrewDevice, remove_folder, short_folder
from tests.tool.device import Device

LAYERS = Path(__file__).parents[2] / "layers/apps"
# Takes what was unpacked for a push, unless its Dockerfile is a bad one.
SKIFF_CORE = """\
case $1 in
push)
	tree=$SKIFF_ROOT/mnt/persist/skiff/core/env/$2/incoming.$4
	answer=$SKIFF_ROOT/run/skiff/core/push/$2.$4
	echo "Step 1" >>"$answer.log"
	if grep -q bad "$tree/Dockerfile"; then echo "fail it cannot be built"; else
		cp "$tree/Dockerfile" "$SKIFF_ROOT/built"
		echo "ok $2 runs $3"
	fi >"$answer"
	;;
receive) exec python3 -m skiff_device.core "$@" ;;
esac
"""
# Tells whether the connection lasts until all is done.
SSH = """\
#!/bin/sh
CONTAINER=my_Box busybox sh "$SKIFF_ROOT/usr/lib/skiff/core/receive"
status=$?
[ ! -e "$SKIFF_ROOT/built" ] || : >"$SKIFF_ROOT/lasted"
exit $status
"""


class Machine:
    """The device, its service core at work, and a repository of somebody's."""

    def __init__(self, root: Path) -> None:
        self.device, self.paths = Device(root), Paths(root)
        for layer in ("core", "crew"):
            for path in (LAYERS / layer / "rootfs/usr/lib/skiff").iterdir():
                shutil.copytree(path, root / "usr/lib/skiff" / path.name, dirs_exist_ok=True)
        config = root / "usr/lib/skiff/crew/gitconfig"
        config.write_text(config.read_text().replace("/usr/lib", f"{root}/usr/lib"))
        shutil.copy(LAYERS / "core/services/core/run", root / "service")
        for script in (root / "service", root / "usr/lib/skiff/core/receive"):
            # The device's own PATH is the host's here.
            text = script.read_text().replace(". /usr/lib/skiff/lib.sh", f". {root}/usr/lib/skiff/lib.sh")
            script.write_text(text.replace("lib.sh\n", f"lib.sh\nPATH={root}/bin:$PATH\n"))
        for name, text in {
            "skiff-core": SKIFF_CORE,
            "crew": 'exec python3 -PS -m skiff_device.crew "$@"\n',
            "python3": f'exec {sys.executable} "$@"\n',
            "chgrp": "",
        }.items():
            self.device.put(f"bin/{name}", f"#!/bin/sh\n{text}").chmod(0o755)
        self.device.put("ssh", SSH).chmod(0o755)
        self.device.put("run/skiff/persist", "")
        for folder in ("core/env/my_Box", "crew"):
            (root / "mnt/persist/skiff" / folder).mkdir(parents=True)
        self.env = {
            "PATH": f"{root}/bin:{os.environ['PATH']}",
            "SKIFF_ROOT": str(root),
            "PYTHONPATH": str(SOURCE),
            "GIT_SSH": str(root / "ssh"),
            "GIT_CONFIG_GLOBAL": "/dev/null",
        }
        self.service = subprocess.Popen([self.device.busybox, "sh", root / "service"], env=self.env)
        (root / "work").mkdir()
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *words: str) -> tuple[int, str]:
        """Run git in the repository; status, and what it says."""
        name = ("-c", "user.name=a", "-c", "user.email=a@b")
        argv = ["git", "-C", str(self.paths.root / "work"), *name, *words]
        done = subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stderr

    def push(self, dockerfile: str, branch: str = "main") -> tuple[int, str]:
        self.device.put("work/Dockerfile", dockerfile)
        self.git("add", "Dockerfile")
        self.git("commit", "--quiet", "--message=x")
        return self.git("push", "core@device:env", f"HEAD:refs/heads/{branch}")


@pytest.fixture
def machine() -> Iterator[Machine]:
    root = short_folder()
    made = Machine(root)
    yield made
    made.service.kill()
    made.service.wait()
    remove_folder(root)


def test_it_is_a_push_to_an_app_of_crews(machine: Machine) -> None:
    ended, said = machine.push("FROM box\n")
    assert ended == 0 and "remote: my_Box runs" in said and "remote: Step 1" in said, said
    assert (machine.paths.root / "built").read_text() == "FROM box\n"
    assert (machine.paths.root / "lasted").exists()
    assert store.apps(machine.paths) == ["my-box"]
    # Crew's own rules count, and its repository keeps what was pushed.
    ended, said = machine.push("FROM box\n", "trial")
    assert ended == 1 and "trial is not deployed, only main" in said
    ended, said = machine.push("bad\n")
    assert ended == 1 and "it cannot be built" in said
    assert (machine.paths.root / "built").read_text() == "FROM box\n"
    assert list((machine.paths.app("my-box") / "repo.git/refs/heads").iterdir())
    assert machine.paths.events.read_text().count(" env:my-box my-box: push") == 3
    # What was handed over is put away.
    assert not list((machine.paths.root / "run/skiff/core/push").iterdir())
    store.change(machine.paths, "my-box", "app", lambda section: section.update(locked=True))
    ended, said = machine.push("FROM box\nRUN two\n")
    assert ended != 0 and "my-box is locked" in said and "apps:unlock my-box" in said


def test_a_container_that_is_not_there_yet_is_told(machine: Machine) -> None:
    (machine.paths.root / "mnt/persist/skiff/core/env/my_Box").rmdir()
    ended, said = machine.push("FROM box\n")
    assert ended != 0 and "the container my_Box is not set up yet" in said


def test_an_app_that_was_marked_is_the_environment_of_core(crew: CrewDevice) -> None:
    crew.run("apps:create", "mine")
    assert crew.run("apps:core", "mine").status == 0
    assert to_core.container(store.section(crew.paths, "mine", "app")) == "core"
    # Core tells of it, not crew.
    assert status.line(crew.paths, Engine(crew.paths)) == "ok\tno apps\t"
    assert crew.run("apps:core", "--off", "mine").status == 0
    assert to_core.container(store.section(crew.paths, "mine", "app")) == ""


def test_an_app_of_another_kind_is_left_alone(machine: Machine) -> None:
    store.create(machine.paths, "my-box")
    ended, said = machine.push("FROM box\n")
    assert ended != 0 and "which is no environment of my_Box" in said
    assert not (machine.paths.root / "built").exists()
