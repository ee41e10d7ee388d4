"""`skiff` as its users run it: machines side by side, streams and statuses passed on, clear ends."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from skiff.host.run import run
from tests.vm.conftest import Images


class Tool:
    """Runs `skiff` in one workspace, and at last stops its machine."""

    def __init__(self, folder: Path, cache: Path, workspace: str) -> None:
        self.machine = folder / workspace / "machine"
        self._environment = {
            "SKIFF_WORKSPACES": str(folder),
            "SKIFF_WORKSPACE": workspace,
            "SKIFF_CACHE": str(cache),
            "SKIFF_CONFIG": "",
        }

    def skiff(self, *words: str, status: int = 0, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run it; it must end with this status."""
        argv = [sys.executable, "-m", "skiff", *words]
        done = run(argv, env=self._environment, input=input, timeout=600, check=False)
        assert done.returncode == status, (done.stdout + done.stderr).decode()
        return done

    def status(self) -> dict[str, object]:
        """What `skiff status --json` says."""
        found: dict[str, object] = json.loads(self.skiff("status", "--json").stdout)
        return found


@pytest.fixture
def tools(images: Images, tmp_path: Path) -> Iterator[tuple[Tool, Tool]]:
    made = Tool(tmp_path, images.cache, "one"), Tool(tmp_path, images.cache, "two")
    yield made
    for tool in made:
        tool.skiff("stop", "--force")


def fleet(folder: Path, **ports: object) -> Path:
    """An inventory of the machines of workspaces in a folder."""
    hosts = folder / "hosts.toml"
    hosts.write_text(
        f"[defaults]\nssh_options = ['UserKnownHostsFile={folder}/known_hosts']\n"
        + "".join(
            f"[hosts.{name}]\naddress = '127.0.0.1'\nport = {port}\nkey = '{folder}/{name}/keys/id_ed25519'\n"
            for name, port in ports.items()
        )
    )
    return hosts


def test_run_ssh_status_stop(tools: tuple[Tool, Tool], tmp_path: Path) -> None:
    one, two = tools
    summary = one.skiff("run", "--detach", "--no-user-keys", "virt/qemu").stdout.decode()
    assert "skiff ssh" in summary
    assert "skiff stop" in summary

    # Streams and status are those of the program on the device, words stay as they are.
    noise = bytes(range(256)) * 1000
    done = one.skiff("ssh", "--", "sh", "-c", "cat; echo errors >&2; exit 7", input=noise, status=7)
    assert done.stdout == noise
    assert done.stderr == b"errors\n"
    assert one.skiff("ssh", "--", "printf", "%s|", "a b", "$HOME", "*").stdout == b"a b|$HOME|*|"

    port = one.status()["ssh_port"]
    assert isinstance(port, int)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as link:
        assert link.recv(4) == b"SSH-"

    # One that is in use is not taken, and nothing is left behind.
    error = two.skiff("run", "--detach", "--ssh-port", str(port), "--no-user-keys", "virt/qemu", status=2)
    assert str(port) in error.stderr.decode()
    assert not (two.machine / "qemu.pid").exists()

    # Two run at once, and each stop ends its own.
    two.skiff("run", "--detach", "--no-persist", "--no-user-keys", "virt/qemu")
    other = two.status()["ssh_port"]
    assert other != port
    hosts = fleet(tmp_path, one=port, two=other)
    lines = one.skiff("fleet", "run", "-I", str(hosts), "--", "sh", "-c", "echo $SKIFF_HOST").stdout.decode()
    assert lines.split() == ["one", "one", "two", "two"]
    found = one.skiff("fleet", "status", "--json", "--on", "one", "-I", str(hosts)).stdout
    assert json.loads(found)["devices"]["one"]["text"].startswith("Skiff 0.")
    two.skiff("stop")
    assert one.skiff("ssh", "--", "echo", "here").stdout == b"here\n"

    # The same persist disk is the same device.
    before = (one.machine / "known_hosts").read_text()
    assert before
    one.skiff("stop")
    one.skiff("run", "--detach")
    assert (one.machine / "known_hosts").read_text() == before
    assert one.skiff("ssh", "--", "skiff-status").stdout.decode().count("Skiff 0.") == 1
    # The console is kept, and tells how to get in.
    assert "Log in: ssh root@skiff.local" in (one.machine / "console.log").read_text()


def test_every_memory_and_disk_that_is_asked_for(tools: tuple[Tool, Tool], tmp_path: Path) -> None:
    one, _ = tools
    disk = tmp_path / "data, with a comma.img"
    with disk.open("wb") as file:
        file.truncate(2**25)
    one.skiff(
        "run",
        "--detach",
        "--no-user-keys",
        "--memory",
        "300",
        "--cpus",
        "1",
        "--disk",
        str(disk),
        "virt/qemu",
    )
    facts = one.skiff(
        "ssh", "--", "sh", "-c", "nproc; cat /sys/block/vdb/size; grep MemTotal /proc/meminfo"
    ).stdout.split()
    assert facts[:2] == [b"1", str(2**25 // 512).encode()]
    assert 200_000 < int(facts[3]) < 300 * 1024
    assert os.access(disk, os.W_OK)
