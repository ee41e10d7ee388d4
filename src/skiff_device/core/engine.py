"""The container engine by its `docker` command: questions answered as JSON, and errors in plain words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from skiff_device.common import run
from skiff_device.common.errors import DeviceError, EngineDown
from skiff_device.core.errors import ROOM

# What the engine says, small letters, and what the user may do about it. The first that is found counts.
_DOWN = (
    "cannot connect to the docker daemon",
    "is the docker daemon running",
    "error during connect",
    "cannot connect to podman",
)
_UNREACHED, _NETWORK = "the registry cannot be reached", "check the network: skiff-status"
_HINTS = (
    ("no space left on device", "the disk is full", f"make room: {ROOM}"),
    ("disk quota exceeded", "the disk is full", f"make room: {ROOM}"),
    ("no such host", _UNREACHED, _NETWORK),
    ("temporary failure in name resolution", _UNREACHED, _NETWORK),
    ("server misbehaving", _UNREACHED, _NETWORK),
    ("network is unreachable", _UNREACHED, _NETWORK),
    ("connection refused", _UNREACHED, _NETWORK),
    ("i/o timeout", _UNREACHED, _NETWORK),
    ("tls handshake timeout", _UNREACHED, _NETWORK),
    ("http response to https client", "the registry speaks no TLS", "allow it in the engine's settings"),
    ("certificate", "the registry's certificate is not accepted", "check the clock: date"),
    ("toomanyrequests", "the registry wants fewer requests", "wait, or set pull.registry to another one"),
    ("pull access denied", "no such image, or it needs a log-in", "check the name; docker login"),
    ("manifest unknown", "the registry has no such image", "check name and tag"),
    ("no matching manifest", "the image is not made for this CPU", "choose another image or build it"),
    ("port is already allocated", "a port is taken already", "change hostPort in config.yaml"),
    ("address already in use", "a port is taken already", "change hostPort in config.yaml"),
    ("executable file not found", "the program to start is not in the image", "check entrypoint and cmd"),
    ("no such file or directory", "a file is missing", "check entrypoint, cmd and mounts"),
    ("exec format error", "the image is for another CPU", "choose an image for this CPU"),
)  # fmt: skip

# Of an image: also of a name that no image can have, which is then told by what is to get it.
_NOT_THERE = ("no such", "not known", "not found", "invalid reference format", "must be lowercase")

# What docker says before every build without its plug-in, which the image does not need.
_ADVICE = ("DEPRECATED: The legacy builder", "Install the buildx component", "docs.docker.com/go/buildx")


def plain(error: str) -> tuple[str, str]:
    """One line and a hint for what the engine said."""
    low = error.lower()
    lines = [line.strip() for line in error.strip().splitlines() if line.strip()]
    # The last line is the cause, except for docker's advice to ask for help.
    causes = [line for line in lines if "--help" not in line and not line.startswith("DEPRECATED")]
    cause = causes[-1] if causes else "no reason was given"
    cause = cause.removeprefix("Error response from daemon: ").removeprefix("Error: ")[:300]
    for words, meaning, hint in _HINTS:
        if words in low:
            return f"{meaning} ({cause})", hint
    return cause, ""


def error_of(what: str, said: str) -> DeviceError:
    """The error to raise when the engine failed at something."""
    if any(words in said.lower() for words in _DOWN):
        return EngineDown("the container engine does not answer", "skiff-status engine")
    cause, hint = plain(said)
    return DeviceError(f"{what}: {cause}", hint)


def ask(*words: str, what: str) -> bytes:
    """Output of a docker command. Raises DeviceError (EngineDown) that begins with what."""
    result = run.capture(["docker", *words])
    if result.status:
        raise error_of(what, result.err or result.out.decode(errors="replace"))
    return result.out


def containers() -> list[dict[str, Any]]:
    """All containers as `docker inspect` tells them, also those that do not run."""
    listed = ask("ps", "--all", "--quiet", "--no-trunc", what="containers cannot be listed")
    ids = listed.decode().split()
    if not ids:
        return []
    result = run.capture(["docker", "container", "inspect", *ids])
    # One that went away in the meantime is an error beside the others' answers.
    if result.status and "no such" not in result.err.lower():
        raise error_of("containers cannot be looked at", result.err)
    return list(json.loads(result.out or b"[]"))


def container(name: str) -> dict[str, Any] | None:
    """One container, or None."""
    result = run.capture(["docker", "container", "inspect", name])
    if result.status:
        if "no such" in result.err.lower():
            return None
        raise error_of(f"container {name} cannot be looked at", result.err)
    found: list[dict[str, Any]] = json.loads(result.out)
    return found[0]


def image(reference: str) -> dict[str, Any] | None:
    """One image that is on this machine, or None."""
    result = run.capture(["docker", "image", "inspect", reference])
    if result.status:
        if any(words in result.err.lower() for words in _NOT_THERE):
            return None
        raise error_of(f"image {reference} cannot be looked at", result.err)
    found: list[dict[str, Any]] = json.loads(result.out)
    return found[0]


def pull(reference: str, log: run.Log) -> None:
    """Fetch an image from its registry."""
    result = run.stream(["docker", "pull", reference], log)
    if result.status:
        raise error_of(f"{reference} cannot be pulled", result.err)


def build(argv: list[str], tag: str, log: run.Log) -> None:
    """Build an image; argv are the words after `docker build`."""

    def shown(line: str) -> None:
        if not any(words in line for words in _ADVICE):
            log(line)

    result = run.stream(["docker", "build", *argv], shown)
    if result.status:
        raise error_of(f"{tag} cannot be built", result.err)


# In bytes, with what is around it in a tar, and seconds.
_SMALL, _PATIENCE = 2 << 20, 60


def copy_out(name: str, path: str) -> bytes | None:
    """A small file of a container, running or not; None when it has no such file."""
    import io
    import tarfile

    for follow in (["--follow-link"], []):
        # Whoever rules the container may have put anything there.
        result = run.head(["docker", "cp", *follow, f"{name}:{path}", "-"], _SMALL, _PATIENCE)
        # Podman follows links without being told, and does not know the flag.
        if result.status == 0 or "unknown flag" not in result.err:
            break
    if result.status:
        return None
    try:
        with tarfile.open(fileobj=io.BytesIO(result.out)) as archive:
            for member in archive:
                # The path may be a folder, with links in it that lead nowhere.
                file = archive.extractfile(member) if member.isreg() else None
                if file is not None:
                    return file.read(1 << 20)
    except tarfile.TarError:
        pass
    return None


def execute(name: str, argv: list[str]) -> run.Result:
    """Run a program as root in a running container."""
    return run.capture(["docker", "exec", "--user", "0", name, *argv], timeout=60)


def logs(name: str, follow: bool) -> None:
    """Become `docker logs` of a container."""
    run.replace(["docker", "logs", "--tail", "1000", *(["--follow"] if follow else []), name])


def folder(path: Path) -> str:
    """A folder as a word that is no option."""
    return str(path.absolute())


def last_words(name: str, lines: int = 10) -> list[str]:
    """The last lines that a container wrote."""
    result = run.capture(["docker", "logs", "--tail", str(lines), name])
    return (
        (result.out.decode(errors="replace") + result.err).splitlines()[-lines:] if not result.status else []
    )
