"""The hook of a pushed environment: what it asks the service core; one that is gone is not waited for."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.tool.device import Device

CORE = Path(__file__).parents[2] / "layers/apps/core/rootfs/usr/lib/skiff/core"
COMMIT = "0123456789" * 4


class Push:
    """A device whose git has a Dockerfile to unpack, and the FIFO of the service core."""

    def __init__(self, device: Device) -> None:
        self.device, self.root = device, device.root
        shutil.copytree(CORE, self.root / "usr/lib/skiff/core")
        hook = self.root / "usr/lib/skiff/core/hooks/pre-receive"
        text = hook.read_text().replace(". /usr/lib", f". {self.root}/usr/lib")
        # Its own git goes before the host's.
        text = text.replace("reject() {", f"PATH={self.root}/bin:$PATH\nreject() {{")
        hook.write_text(text)
        device.put("pushed/Dockerfile", "FROM scratch\n")
        device.put("bin/git", '#!/bin/sh\nexec tar -cf - -C "$SKIFF_ROOT/pushed" .\n').chmod(0o755)
        for folder in ("run/skiff/core/push", "mnt/persist/skiff/core/env/box"):
            (self.root / folder).mkdir(parents=True)
        for name in ("requests", "never"):
            os.mkfifo(self.root / "run/skiff/core" / name)

    def start(self) -> subprocess.Popen[str]:
        hook = subprocess.Popen(
            [self.device.busybox, "sh", str(self.root / "usr/lib/skiff/core/hooks/pre-receive")],
            env={"SKIFF_ROOT": str(self.root), "CONTAINER": "box", "PATH": "/usr/bin:/bin"},
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert hook.stdin is not None
        hook.stdin.write(f"{'0' * 40} {COMMIT} refs/heads/main\n")
        hook.stdin.close()
        hook.stdin = None
        return hook

    def asked(self) -> list[str]:
        """The next request, as the service reads it."""
        with (self.root / "run/skiff/core/requests").open() as requests:
            return requests.readline().split()

    def left(self) -> list[Path]:
        """What the hook made and did not put away."""
        env = self.root / "mnt/persist/skiff/core/env/box"
        return [*env.iterdir(), *(self.root / "run/skiff/core/push").iterdir()]


@pytest.fixture
def push(device: Device) -> Push:
    return Push(device)


def test_it_asks_and_shows_the_answer(push: Push) -> None:
    hook = push.start()
    word, container, commit, pid = push.asked()
    assert (word, container, commit, pid) == ("push", "box", COMMIT, str(hook.pid))
    assert (push.root / f"mnt/persist/skiff/core/env/box/incoming.{pid}/Dockerfile").exists()
    push.device.put(f"run/skiff/core/push/box.{pid}", "ok box runs\n")
    _, said = hook.communicate(timeout=30)
    assert (hook.returncode, said) == (0, "skiff: box runs\n")


def test_a_service_that_does_not_listen_rejects(push: Push) -> None:
    program = push.root / "usr/lib/skiff/core/hooks/pre-receive"
    program.write_text(program.read_text().replace("timeout 10", "timeout 0.1"))
    hook = push.start()
    _, said = hook.communicate(timeout=30)
    assert hook.returncode == 1 and "does not listen" in said
    assert push.left() == []


def test_a_service_that_is_started_again_rejects(push: Push) -> None:
    hook = push.start()
    pid = push.asked()[3]
    for name in (f"box.{pid}", f"box.{pid}.log"):
        (push.root / "run/skiff/core/push" / name).unlink()
    _, said = hook.communicate(timeout=30)
    assert hook.returncode == 1 and "was started again" in said
    assert push.left() == []
