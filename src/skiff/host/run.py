"""The gateway to other programs: no other module imports subprocess."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO

from skiff.host.errors import UserError, disk_full

Argv = Sequence[str | os.PathLike[str]]

# Debian package that brings a program, for the remedy when one is missing.
_PACKAGE_OF = {
    "apt-get": "apt",
    "awk": "mawk",
    "cmp": "diffutils",
    "diff": "diffutils",
    "find": "findutils",
    "ld": "binutils",
    "which": "debianutils",
    "xargs": "findutils",
    "dpkg-deb": "dpkg",
    "dpkg-source": "dpkg-dev",
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
    "arm-linux-gnueabihf-gcc": "gcc-arm-linux-gnueabihf",
    "riscv64-linux-gnu-gcc": "gcc-riscv64-linux-gnu",
    "x86_64-linux-gnu-gcc": "gcc-x86-64-linux-gnu",
    "mksquashfs": "squashfs-tools",
    "unsquashfs": "squashfs-tools",
    "mke2fs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "zstd": "zstd",
    "docker": "docker.io",
    "git": "git",
    "mmdebstrap": "mmdebstrap",
    "skopeo": "skopeo",
    "sfdisk": "fdisk",
    "mformat": "mtools",
    "mcopy": "mtools",
    "mmd": "mtools",
    "mkimage": "u-boot-tools",
    "depmod": "kmod",
    "dot": "graphviz",
    "modinfo": "kmod",
    "ssh": "openssh-client",
    "rsync": "rsync",
    "setpriv": "util-linux",
    "ssh-keygen": "openssh-client",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-system-aarch64": "qemu-system-arm",
    "qemu-system-arm": "qemu-system-arm",
    "qemu-system-riscv64": "qemu-system-misc",
}


class CommandError(UserError):
    """A program ended with a status other than zero; the message shows it ready to paste."""

    def __init__(self, argv: Argv, status: int, output: str) -> None:
        self.status = status
        self.output = output
        tail = "\n".join(output.strip().splitlines()[-20:])
        ended = f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
        super().__init__(f"{shell_form(argv)}\n{ended}" + (f":\n{tail}" if tail else ""))


def failure(argv: Argv, status: int, output: str) -> UserError:
    """The error for a program that failed: a full disk is told as such, whatever the program made of it."""
    if "No space left on device" in output:
        return disk_full(f"for {Path(argv[0]).name}")
    return CommandError(argv, status, output)


def shell_form(argv: Argv) -> str:
    """The command as one line that a shell would run alike."""
    return shlex.join(os.fspath(word) for word in argv)


def which(program: str) -> str | None:
    """Absolute path of a program, looked up on PATH and in the sbin folders; None if absent."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
    return shutil.which(program, path=path)


def require(*programs: str) -> None:
    """Raise one UserError that names every missing program and the apt line that brings them."""
    missing = [name for name in programs if which(name) is None]
    if missing:
        packages = sorted({_PACKAGE_OF.get(name, name) for name in missing})
        raise UserError(
            f"not installed on this machine: {', '.join(missing)}",
            hint=f"sudo apt-get install --no-install-recommends {' '.join(packages)}",
        )


def _resolved(argv: Argv) -> list[str]:
    words = [os.fspath(word) for word in argv]
    if "/" not in words[0]:
        found = which(words[0])
        if found is None:
            require(words[0])
        words[0] = found or words[0]
    return words


def run(
    argv: Argv,
    *,
    input: bytes | None = None,
    stdin: IO[bytes] | int | None = None,
    stdout: IO[bytes] | int | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end and return it, its output captured unless ``stdout`` is given.

    ``env`` is added to the environment; ``timeout`` is in seconds.
    Raises CommandError when it fails (unless ``check`` is False), UserError when it is missing or
    the disk is full.
    """
    words = _resolved(argv)
    try:
        done = subprocess.run(
            words,
            input=input,
            stdin=stdin if input is None else None,
            stdout=subprocess.PIPE if stdout is None else stdout,
            stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise CommandError(argv, -signal.SIGALRM, f"no end after {timeout} s") from late
    if check and done.returncode != 0:
        raise failure(argv, done.returncode, _both(done))
    return done


def _both(done: subprocess.CompletedProcess[bytes]) -> str:
    return ((done.stdout or b"") + (done.stderr or b"")).decode(errors="replace")


def spawn(
    argv: Argv,
    *,
    stdin: IO[bytes] | int | None = None,
    stdout: IO[bytes] | int | None = None,
    stderr: IO[bytes] | int | None = None,
    env: Mapping[str, str | None] | None = None,
    cwd: Path | None = None,
    new_session: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a program and return at once. ``new_session`` detaches it from this terminal.

    ``env`` is added to the environment; None takes a variable out of it.
    """
    environment = {**os.environ, **(env or {})}
    return subprocess.Popen(
        _resolved(argv),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env={name: value for name, value in environment.items() if value is not None},
        cwd=cwd,
        start_new_session=new_session,
    )


class Group:
    """Programs that several threads start, and that end together: `stop` may come from any of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def stream(
        self,
        argv: Argv,
        say: Callable[[str], None],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> int:
        """Run a program to its end, hand on its lines (both streams) as they come; returns its status.

        Raises Stopped when the group was stopped meanwhile, or before.
        """
        with self.started(argv, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, env=env, cwd=cwd) as process:
            assert process.stdout is not None
            for line in process.stdout:
                say(line.decode(errors="replace").rstrip("\r\n"))
        return process.returncode

    def run(self, argv: Argv, *, input: bytes, timeout: float) -> subprocess.CompletedProcess[bytes]:
        """Run a program to its end, whatever its status, output captured. Raises as `run` and `stream`."""
        with self.started(argv, stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
            try:
                stdout, stderr = process.communicate(input, timeout)
            except subprocess.TimeoutExpired as late:
                process.kill()
                raise CommandError(argv, -signal.SIGALRM, f"no end after {timeout} s") from late
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    @contextmanager
    def started(
        self,
        argv: Argv,
        *,
        stdin: IO[bytes] | int | None = None,
        stdout: IO[bytes] | int | None = None,
        stderr: IO[bytes] | int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Start a program; the block is left when it has ended. Raises Stopped as `stream` does."""
        with self._lock:
            if self._stopped:
                raise Stopped
            # Its own process group: Ctrl-C reaches it through `stop` and not twice.
            process = spawn(
                argv, stdin=stdin, stdout=stdout, stderr=stderr, env=env, cwd=cwd, new_session=True
            )
            self._running.add(process)
        try:
            with process:
                yield process
        finally:
            with self._lock:
                self._running.discard(process)
        if self._stopped:
            raise Stopped

    def stop(self) -> None:
        """End all that run, and let none start any more."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()


class Stopped(Exception):
    """A program was ended because the whole work was."""


def replace(argv: Argv) -> None:
    """Become another program (exec): its streams and exit status are then exactly its own."""
    words = _resolved(argv)
    # Python ignores SIGPIPE, and that would be inherited.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execv(words[0], words)


def attend(argv: Argv) -> int:
    """Run a program with this one's streams, for who has more to say after it; returns its exit status.

    What ends this program ends that one. Raises KeyboardInterrupt after Ctrl-C, when it has ended.
    """
    interrupts: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            # From a terminal it reached the program too.
            interrupts.append(number)
        else:
            process.send_signal(number)

    with spawn(argv) as process:
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = [(number, signal.signal(number, hand_on)) for number in numbers]
        try:
            status = process.wait()
        finally:
            for number, handler in before:
                signal.signal(number, handler)
    if interrupts:
        raise KeyboardInterrupt
    # As a shell has it.
    return status if status >= 0 else 128 - status


# What `spawn` returns, for who keeps it.
Process = subprocess.Popen[bytes]
PIPE = subprocess.PIPE
DEVNULL = subprocess.DEVNULL
STDOUT = subprocess.STDOUT
