"""Finds engines that build: Docker's BuildKit, podman or buildah here, or Docker's on a device by SSH.

A device's engine is reached through its socket, which ssh brings here: the builder runs on the device,
the docker command on this machine.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from skiff.host.errors import UserError
from skiff.host.run import DEVNULL, Argv, CommandError, run, spawn, which
from skiff.model.arch import Arch
from skiff.model.port import Platform
from skiff.port.engine import Buildah, Engine

_SOCKETS = ("/run/docker.sock", "/run/podman/podman.sock")
# Seconds for an engine, or a device, to answer at all.
_ANSWER = 30.0


def local(choice: str = "auto") -> Engine:
    """The engine of this machine: docker when it answers, else podman, else buildah; ``choice`` names one.

    Raises UserError with what is wrong with each.
    """
    problems = []
    for name, find in (("docker", _docker), ("podman", _podman), ("buildah", _buildah)):
        if choice not in ("auto", name):
            continue
        if which(name) is None:
            problems.append(f"{name} is not installed")
            continue
        try:
            return find()
        except CommandError as error:
            last = error.output.strip().splitlines()[-1:] or ["it says nothing"]
            problems.append(f"{name}: {last[0]}")
        except UserError as error:
            if choice != "auto":
                raise
            problems.append(f"{error.message} ({error.hint})")
    raise UserError(
        "no container engine that can build:\n  " + "\n  ".join(problems),
        hint="sudo apt-get install docker.io docker-buildx, or podman; or build elsewhere: --on root@device",
    )


class _Component(msgspec.Struct, rename="pascal"):
    name: str = ""


class _Client(msgspec.Struct, rename="pascal"):
    version: str = ""


class _Server(msgspec.Struct, rename="pascal"):
    arch: str
    os: str = "linux"
    components: tuple[_Component, ...] = ()


class _Version(msgspec.Struct, rename="pascal"):
    client: _Client
    server: _Server


def _docker(words: Sequence[str] = ("docker",), name: str = "docker", remote: str = "") -> Engine:
    """Docker as this command reaches it. Raises UserError when it cannot build with BuildKit."""
    done = run([*words, "version", "--format", "{{json .}}"], input=b"", timeout=_ANSWER)
    version = msgspec.json.decode(done.stdout, type=_Version)
    engine = Engine(name, words, _arch(version.server.os, version.server.arch), remote=remote)
    engine.legacy = any(part.name.startswith("Podman") for part in version.server.components)
    # From 23 on, the command builds with BuildKit only by a plug-in.
    major = version.client.version.partition(".")[0]
    if (
        not engine.legacy
        and (not major.isdigit() or int(major) >= 23)
        and run([*words, "buildx", "version"], input=b"", check=False).returncode
    ):
        raise UserError(
            f"docker {version.client.version} has no buildx, and cannot use BuildKit without it",
            hint="sudo apt-get install docker-buildx",
        )
    return engine


def _podman() -> Engine:
    # It opens podman's storage, as `podman info` does in six times the time.
    done = run(["podman", "version", "--format", "{{.Client.OsArch}}"], input=b"", timeout=_ANSWER)
    os_name, _, arch = done.stdout.decode().strip().partition("/")
    return Engine("podman", ("podman",), _arch(os_name, arch), podman=True)


def _buildah() -> Engine:
    done = run(["buildah", "info", "--format", "{{.host.os}} {{.host.arch}}"], input=b"", timeout=_ANSWER)
    os_name, _, arch = done.stdout.decode().strip().partition(" ")
    return Buildah(_arch(os_name, arch))


def _arch(os_name: str, name: str) -> Arch:
    try:
        found = Platform.parse(f"{os_name}/{name}").debian
    except ValueError:
        found = None
    if found is None:
        raise UserError(f"the engine runs on {os_name}/{name}, a CPU that Debian has no name for")
    # Docker calls every 32-bit ARM so.
    return Arch.ARMHF if found is Arch.ARMEL and platform.machine() != "armv6l" else found


class Remote(msgspec.Struct, frozen=True):
    """A device to build on: ``user@host`` or ``user@host:port``, and options for ssh as `Key=value`."""

    target: str
    options: tuple[str, ...] = ()

    def ssh(self, *flags: str) -> list[str]:
        """The ssh command line up to the host. Raises UserError for a target that is none."""
        host, _, port = self.target.partition(":")
        if not host or host.startswith("-") or (port and not port.isdigit()):
            raise UserError(f"{self.target}: not user@host or user@host:port")
        settings = [f"ConnectTimeout={int(_ANSWER)}", "BatchMode=yes", "StrictHostKeyChecking=accept-new"]
        settings += ["ExitOnForwardFailure=yes", "LogLevel=ERROR", "ServerAliveInterval=30"]
        # The first value of an option holds.
        words = [word for setting in (*self.options, *settings) for word in ("-o", setting)]
        return ["ssh", "-T", *words, *(("-p", port) if port else ()), *flags, host]


@contextmanager
def on_device(remote: Remote) -> Iterator[Engine]:
    """The engine of a device while the block runs. Raises UserError when it is out of reach or has none."""
    if which("docker") is None:
        raise UserError(
            "building on a device needs the docker command on this machine",
            hint="sudo apt-get install docker.io",
        )
    with tempfile.TemporaryDirectory(prefix="skiff-") as folder:
        socket = Path(folder) / "engine.sock"
        forward = f"{socket}:{_remote_socket(remote)}"
        log = Path(folder) / "ssh.log"
        with (
            log.open("wb") as out,
            spawn(remote.ssh("-N", "-L", forward), stdin=DEVNULL, stdout=out, stderr=out) as tunnel,
        ):
            try:
                _wait(socket, tunnel.poll, remote, log)
                words = ("docker", "--host", f"unix://{socket}")
                yield _docker(words, f"docker on {remote.target}", remote.target)
            finally:
                tunnel.terminate()


def _remote_socket(remote: Remote) -> str:
    argv: Argv = [*remote.ssh(), "ls", *_SOCKETS]
    done = run(argv, input=b"", check=False, timeout=2 * _ANSWER)
    found = [line for line in done.stdout.decode(errors="replace").split() if line in _SOCKETS]
    if found:
        return found[0]
    said = done.stderr.decode(errors="replace").strip().splitlines()
    if done.returncode == 255:
        raise UserError(
            f"{remote.target} cannot be reached by ssh: {said[-1] if said else 'it says nothing'}",
            hint=f"`ssh {remote.target}` must log in without a password; --ssh-option gives ssh an option",
        )
    raise UserError(
        f"{remote.target} has no running container engine", hint="look there with `skiff-status engine`"
    )


def _wait(socket: Path, ended: Callable[[], int | None], remote: Remote, log: Path) -> None:
    deadline = time.monotonic() + _ANSWER
    while not socket.exists():
        if ended() is not None or time.monotonic() > deadline:
            said = log.read_text(errors="replace").strip().splitlines()
            raise UserError(
                f"{remote.target}: the engine's socket cannot be brought here by ssh: "
                f"{said[-1] if said else 'no answer'}",
                hint="the SSH server there must allow forwarding of sockets",
            )
        time.sleep(0.05)


def host_arch() -> Arch:
    """The CPU of this machine. Raises UserError for one that is not known."""
    try:
        return Arch.host()
    except KeyError:
        raise UserError(f"this machine's CPU is not known: {os.uname().machine}") from None
