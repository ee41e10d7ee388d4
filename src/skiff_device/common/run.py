"""The gateway to other programs: no other module of the device imports subprocess."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from skiff_device.common.errors import DeviceError

Log = Callable[[str], None]
# Progress bars come as one endless line; what is longer than this is cut, in bytes.
_LONGEST_LINE = 2000


class Result(NamedTuple):
    """How a program ended, and what it said."""

    status: int
    out: bytes
    err: str


def _environment(more: dict[str, str] | None = None) -> dict[str, str]:
    # A service has no HOME, and docker looks there for the log-in to registries.
    return {"HOME": "/root", **os.environ, **(more or {})}


def capture(
    argv: list[str],
    stdin: bytes | None = None,
    timeout: float | None = None,
    env: dict[str, str] | None = None,
) -> Result:
    """Run a program and take what it writes. DeviceError if it is missing or late.

    timeout in seconds; env are variables besides those of this process.
    """
    import subprocess

    try:
        done = subprocess.run(
            argv,
            input=stdin or b"",
            capture_output=True,
            env=_environment(env),
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        raise _missing(argv[0]) from None
    except subprocess.TimeoutExpired:
        raise DeviceError(f"{argv[0]} {argv[1]} is late: {timeout:g} s", "skiff-status") from None
    return Result(done.returncode, done.stdout, done.stderr.decode(errors="replace"))


def head(argv: list[str], most: int, timeout: float) -> Result:
    """Run a program that may write without an end: what it writes, or status 1 if that is more than ``most``.

    Bytes and seconds. One that is late is ended, with a status other than 0.
    """
    import subprocess
    import tempfile

    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            ["timeout", "-k", "1", f"{timeout:g}", *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            env=_environment(),
        )
        assert process.stdout is not None
        # Who goes on writing after that is ended by it.
        with process.stdout:
            out = process.stdout.read(most + 1)
        status = process.wait()
        said.seek(0)
        err = said.read(_LONGEST_LINE).decode(errors="replace")
    return Result(1, b"", err) if len(out) > most else Result(status, out, err)


def stream(argv: list[str], log: Log, stdin: Path | None = None) -> Result:
    """Run a program and hand on each line it writes as it comes; err holds the last of them."""
    import subprocess

    with open(stdin or os.devnull, "rb") as source:  # noqa: PTH123 - os.devnull is no Path
        try:
            process = subprocess.Popen(
                argv, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=_environment()
            )
        except FileNotFoundError:
            raise _missing(argv[0]) from None
    last: list[str] = []
    assert process.stdout is not None
    try:
        while line := process.stdout.readline(_LONGEST_LINE):
            # What a carriage return would overwrite on a terminal.
            text = line.decode(errors="replace").rstrip().rpartition("\r")[2]
            if text:
                log(text)
                last = [*last[-19:], text]
        status = process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
        process.stdout.close()
    return Result(status, b"", "\n".join(last))


def feed(argv: list[str], write: Callable[[IO[bytes]], None]) -> Result:
    """Run a program that reads what ``write`` writes; err holds what it said, which must be little.

    When ``write`` raises, the program is killed, so that it never takes a part for the whole.
    """
    import subprocess

    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(),
        )
    except FileNotFoundError:
        raise _missing(argv[0]) from None
    assert process.stdin is not None and process.stdout is not None
    try:
        # A program that ended early says why.
        with suppress(BrokenPipeError):
            write(process.stdin)
            process.stdin.close()
    except BaseException:
        # Before its input ends.
        process.kill()
        raise
    finally:
        said = process.stdout.read().decode(errors="replace")
        process.stdout.close()
        with suppress(BrokenPipeError):
            process.stdin.close()
        status = process.wait()
    return Result(status, b"", said)


def copy(argv: list[str], out: IO[bytes]) -> None:
    """Run a program and copy what it writes. Raises DeviceError when it fails."""
    import shutil
    import subprocess
    import tempfile

    # What it says goes to a file, for nobody reads a second pipe meanwhile.
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=_environment()
            )
        except FileNotFoundError:
            raise _missing(argv[0]) from None
        assert process.stdout is not None
        with process:
            try:
                shutil.copyfileobj(process.stdout, out, 1 << 16)
            except BaseException:
                process.kill()
                raise
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip()
    if process.returncode:
        raise DeviceError(f"{argv[0]} {argv[1]} failed: {said[-300:]}")


def detach(argv: list[str]) -> None:
    """Start a program that nobody waits for: it outlives this process, and the connection of who asked."""
    actions: list[tuple[Any, ...]] = [
        (os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)
    ]
    # Locks and connections that this process was given would live on with it.
    kept = (int(path.name) for path in Path("/proc/self/fd").iterdir())
    actions += [(os.POSIX_SPAWN_CLOSE, number) for number in kept if number > 2]
    try:
        os.posix_spawnp(argv[0], argv, _environment(), file_actions=actions, setsid=True)
    except FileNotFoundError:
        raise _missing(argv[0]) from None


def replace(argv: list[str], env: dict[str, str] | None = None) -> None:
    """Become another program; env are variables besides those of this process. DeviceError if missing."""
    try:
        os.execvpe(argv[0], argv, {**os.environ, **(env or {})})
    except FileNotFoundError:
        raise _missing(argv[0]) from None


def _missing(program: str) -> DeviceError:
    hint = (
        "add layer engine/docker or engine/podman" if program == "docker" else f"the image has no {program}"
    )
    return DeviceError(f"the program {program} is not there", hint)
