"""Builds an image of a source tree with the engine's own builder, which is BuildKit or podman's.

Docker's command needs a plug-in of 69 MB for that; the engine itself does not. The tree goes to it as the
body of one request. Such a build has no session, through which the builder would ask for log-ins to
registries; so base images are fetched before by the engine, which has them.
"""

from __future__ import annotations

import os
import re
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from skiff_device.common.errors import DeviceError
from skiff_device.crew import deadline, names
from skiff_device.crew.buildkit import Trace
from skiff_device.crew.dockerfile import bases
from skiff_device.crew.engine import Engine
from skiff_device.crew.engine_api import Refused, records
from skiff_device.crew.paths import Paths

Say = Callable[[str], None]
# Where builds are in the tree of cgroups; the service crew makes one of them. Podman is told of its part, the
# BuildKit within dockerd has this one whatever it is told.
CGROUP = "/crew-build"
_BUILDKIT_CGROUP = "/docker/buildkit"
# How long podman may take to see that a build is lost, in seconds.
_LOST = 600.0
_DOCKERFILE_LIMIT = 1 << 20
_PRAGMA = re.compile(rb"^#\s*syntax\s*=\s*(\S+)\s*$", re.IGNORECASE)


class Limits(NamedTuple):
    """Of one build: bytes (0: none), processes, seconds."""

    memory: int = 0
    pids: int = 2048
    seconds: float = 1800.0


def bound(paths: Paths, limits: Limits) -> None:
    """Set the limits of the part of the tree of cgroups that builds are in, which all of them share."""
    for group in (CGROUP, _BUILDKIT_CGROUP):
        for name, value in (("pids.max", limits.pids), ("memory.max", limits.memory or "max")):
            # The other engine's part is not there, nor the file of a controller that the kernel lacks.
            with suppress(OSError):
                (paths.root / "sys/fs/cgroup" / group.lstrip("/") / name).write_text(f"{value}\n")


@contextmanager
def _ending(paths: Paths) -> Iterator[str]:
    """A cgroup for the steps of a build on podman, by which they end: a step of a lost build would go on.

    The name is that of a cgroup below: podman takes it for the step's own, and removes it after the step.
    """
    group = paths.root / "sys/fs/cgroup" / CGROUP.lstrip("/") / str(os.getpid())
    _tidy(paths, group.parent)
    with suppress(OSError):
        group.mkdir(exist_ok=True)
        (group / "cgroup.max.descendants").write_text("max\n")
    try:
        yield f"{CGROUP}/{group.name}/step"
    except BaseException:
        # Podman may be about to start a step: it finds no room for it.
        with suppress(OSError):
            (group / "cgroup.max.descendants").write_text("0\n")
            (group / "cgroup.kill").write_text("1\n")
        raise
    with suppress(OSError):
        group.rmdir()


def _tidy(paths: Paths, part: Path) -> None:
    """Remove the cgroups of builds that were lost some time ago."""
    for old in part.glob("[0-9]*"):
        with suppress(OSError):
            if not (paths.root / "proc" / old.name).exists() and time.time() - old.stat().st_mtime > _LOST:
                old.rmdir()


def build(
    paths: Paths,
    engine: Engine,
    context: BinaryIO,
    tag: str,
    *,
    dockerfile: str = "Dockerfile",
    target: str = "",
    args: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    options: Limits | None = None,
    say: Say,
) -> str:
    """Build an image of a tar (opened for reading and writing) and name it; returns its id.

    Raises DeviceError with what failed.
    """
    options = options or Limits()
    podman = engine.is_podman()
    text = _dockerfile(engine, context, dockerfile, say)
    for reference in bases(text, {**_platforms(engine), **(args or {})}):
        if engine.image(reference) is None and not (podman and engine.image(f"localhost/{reference}")):
            say(f"fetching {reference}")
            engine.pull(reference, say)
    context.seek(0)
    query: dict[str, Any] = {
        "t": tag, "dockerfile": dockerfile, "target": target, "buildargs": args or None,
        "labels": labels or None, "rm": 1, "forcerm": 1,
    }  # fmt: skip
    if podman:
        query |= {"memory": options.memory or None, "layers": 1, "pullpolicy": "missing"}
    else:
        query |= {"version": 2}
    late = DeviceError(
        f"the build took longer than {options.seconds:g} s and was ended",
        "make it shorter, or: builder:set APP time-limit SECONDS",
    )
    with ExitStack() as stack:
        if podman:
            query["cgroupparent"] = stack.enter_context(_ending(paths))
        stack.enter_context(deadline.within(options.seconds, late))
        _run(engine, query, context, say)
    found = engine.image(tag)
    if found is None:
        raise DeviceError("the build ended without an image", "look at its last lines")
    return str(found["Id"])


def _run(engine: Engine, query: dict[str, Any], context: BinaryIO, say: Say) -> None:
    """The build itself; ends with the connection, so an interrupted one is cancelled."""
    trace = Trace(say)
    headers = {"Content-Type": "application/x-tar", "Content-Length": str(_size(context))}
    try:
        with engine.open("POST", "/build", query, context, headers, None) as answer:
            for record in records(answer):
                if error := record.get("error"):
                    trace.end()
                    raise DeviceError(f"the build failed: {_cause(str(error))}", "its last lines are above")
                if record.get("id") == "moby.buildkit.trace":
                    trace.take(str(record.get("aux", "")))
                elif line := str(record.get("stream", "")).rstrip("\n"):
                    say(line)
    except Refused as error:
        raise DeviceError(f"the build was refused: {error.message}", "check the Dockerfile") from None
    trace.end()


def _cause(error: str) -> str:
    """The last words of the engine's error, on one line."""
    text = " ".join(error.split())
    for noise in ("failed to solve: ", "process ", "did not complete successfully: "):
        text = text.replace(noise, "")
    return text[-300:]


def _size(context: BinaryIO) -> int:
    place = context.tell()
    size = context.seek(0, os.SEEK_END) - place
    context.seek(place)
    return size


def _dockerfile(engine: Engine, context: BinaryIO, name: str, say: Say) -> str:
    """Text of the Dockerfile in the tar, without a `# syntax=` line whose image is not on this device.

    That line names a newer reader of Dockerfiles, from a registry. The builder's own knows all but the
    newest, and needs no network. It is blanked in place: a tar has no checksum over what its files hold.
    """
    context.seek(0)
    with tarfile.open(fileobj=context, mode="r:") as archive:
        for member in archive:
            if member.name.removeprefix("./") == name and member.isreg() and member.size <= _DOCKERFILE_LIMIT:
                file = archive.extractfile(member)
                assert file is not None
                data = file.read()
                first = data.partition(b"\n")[0]
                match = _PRAGMA.match(first.rstrip(b"\r"))
                reader = match[1].decode(errors="replace") if match is not None else ""
                if reader and engine.image(reader) is None:
                    say(f"built with the engine's own reader of Dockerfiles, not {names.shown(reader)}")
                    blank = b"#" + b" " * (len(first) - 1)
                    context.seek(member.offset_data)
                    context.write(blank)
                    context.flush()
                    data = blank + data[len(first) :]
                return data.decode(errors="replace")
    raise DeviceError(f"there is no {name} in what was pushed", "a plain file, at most 1 MB")


def _platforms(engine: Engine) -> dict[str, str]:
    """What a Dockerfile can name without an ARG: the CPU that it is for, where builds run as well."""
    cpu = str(engine.version().get("Arch", ""))
    # The only 32-bit one of ARM that Skiff is for.
    variant = "v7" if cpu == "arm" else ""
    parts = {"OS": "linux", "ARCH": cpu, "VARIANT": variant}
    parts["PLATFORM"] = "/".join(filter(None, parts.values()))
    return {f"{side}{name}": value for side in ("TARGET", "BUILD") for name, value in parts.items()}
