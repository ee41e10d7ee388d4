"""The containerd of docker's service: waited for as long as it takes, and ended with its dockerd."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.tool.device import Device

LAYER = Path(__file__).parents[2] / "layers/engine/docker/rootfs"
# One that listens, after a while.
BIND = "import os, socket, sys; os.chdir(sys.argv[1]); socket.socket(socket.AF_UNIX).bind('containerd.sock')"
LISTENS = f"""
. "$LIB/containerd.sh"
containerd() {{
    pause 0.5
    {sys.executable} -c "{BIND}" "$CONTAINERD" && exec sleep 60
}}
"""


@pytest.fixture
def docker(device: Device) -> Device:
    """A device with docker's layer."""
    shutil.copytree(LAYER, device.root, dirs_exist_ok=True)
    return device


def test_it_is_waited_for_and_ended(docker: Device) -> None:
    said = docker.says(
        f"""{LISTENS}
        exec 3>&1; exec >/dev/null
        containerd_start "$PERSIST/skiff/docker/containerd/daemon"
        line_of "$CONTAINERD_PID"; pid=$REPLY
        kill -0 "$pid" && echo runs >&3
        containerd_stop
        kill -0 "$pid" 2>/dev/null || echo ended >&3
        containerd_stop
        """
    )
    assert said.split() == ["runs", "ended"]


def test_when_it_ends_the_service_ends(docker: Device) -> None:
    done = docker.sh(
        '. "$LIB/containerd.sh"; containerd() { echo "no room" >&2; }; containerd_start folder; echo on'
    )
    assert (done.returncode, done.stdout, done.stderr) == (-15, "", "no room\n")
